//! Writing comma-separated values (RFC 4180) that a spreadsheet opens without running anything.
//!
//! A text that begins like a formula gets an apostrophe in front: names and tags come from outside, and a spreadsheet would
//! take `=HYPERLINK(…)` for a command. Numbers of ours are written as they are.

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// From outside.
    Text(&'a str),
    /// Digits, times and words of our own.
    Plain(&'a str),
    Empty,
}

/// With these a cell begins to be a formula somewhere, the full-width ones included.
const FORMULA: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Adds a line, with its end.
pub fn write_line(out: &mut String, cells: &[Cell<'_>]) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match cell {
            Cell::Empty => {}
            Cell::Plain(text) => quoted(out, "", text),
            // Blanks in front are taken away by some before they look.
            Cell::Text(text) if text.trim_start_matches(' ').starts_with(FORMULA) => quoted(out, "'", text),
            Cell::Text(text) => quoted(out, "", text),
        }
    }
    out.push_str("\r\n");
}

fn quoted(out: &mut String, before: &str, text: &str) {
    if !text.contains([',', '"', '\r', '\n']) {
        out.push_str(before);
        out.push_str(text);
        return;
    }
    out.push('"');
    out.push_str(before);
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[Cell<'_>]) -> String {
        let mut out = String::new();
        write_line(&mut out, cells);
        out
    }

    #[test]
    fn cells_are_parted_and_quoted_as_they_need() {
        let cells = [Cell::Text("a"), Cell::Empty, Cell::Plain("-0.5"), Cell::Text("x,\"y\"\nz")];

        assert_eq!(line(&cells), "a,,-0.5,\"x,\"\"y\"\"\nz\"\r\n");
    }

    #[test]
    fn no_text_from_outside_begins_a_formula() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("+49 30", "'+49 30"),
            ("-", "'-"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("  =1", "'  =1"),
            ("\t=1", "'\t=1"),
            ("＝1", "'＝1"),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("\r=1", "\"'\r=1\""),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(line(&[Cell::Text(text)]), format!("{written}\r\n"), "{text:?}");
        }
    }
}
