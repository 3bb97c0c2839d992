//! Builds again when a text that is embedded comes or goes; the compiler itself only sees files that were there before.

fn main() {
    for folder in ["docs", "blog", "legal", "faq"] {
        println!("cargo::rerun-if-changed=../../{folder}");
    }
}
