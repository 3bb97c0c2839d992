//! `levqor email`: the domain that mails come from, its DNS records, a test, and the record of what was sent.
//!
//! `setup-domain`, `verify-domain` and `dns` ask Resend with the key of this machine's configuration and need no server.
//! `test` and `log` talk to a running server: a test that went another way than mails do would show nothing.

mod dns;
mod log;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use http::HeaderValue;
use levqor::config::Config;
use levqor_connectors::email::{Failure as ResendFailure, Provider};
use levqor_connectors::resend::{Domain, Resend};
use levqor_core::clock::Clock as _;
use levqor_core::mail;
use levqor_core::user::{check_email, normalize_email};
use serde_json::json;

use super::client::{Api, Call, Server};
use super::exit::{Exit, Failure};
use super::out::{plain, say};
use super::serve::{self, SystemClock};
use super::status;

/// For one call to Resend.
const LIMIT_MS: u64 = 20_000;
/// Between two looks at a domain that is being verified.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Set up the domain that mails come from, send a test, look at what was sent
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  levqor email setup-domain --region eu-west-1
  levqor email verify-domain --wait 10m
  levqor email dns --out dns.txt
  levqor email test --to ada@example.com
  levqor email log --status failed

setup-domain, verify-domain and dns read RESEND_API_KEY, EMAIL_DOMAIN and RECEIVING_EMAIL from the environment and .env; the key needs
\"Full access\" at Resend, while one with \"Sending access\" is enough for the server. test and log talk to a running server."
)]
pub struct Email {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add EMAIL_DOMAIN at Resend if it is not there, print its DNS records and write them to a file
    SetupDomain {
        /// Where Resend sends from: us-east-1, eu-west-1, sa-east-1 or ap-northeast-1; fixed once the domain is there
        #[arg(long, default_value = "us-east-1")]
        region: String,
        #[command(flatten)]
        file: File,
    },
    /// Ask Resend to look at the DNS records, and show how they stand
    VerifyDomain {
        /// Look again for up to this long until the domain is verified, such as 10m
        #[arg(long, value_name = "DURATION", value_parser = status::duration)]
        wait: Option<Duration>,
    },
    /// Print the DNS records and write them to a file; without RESEND_API_KEY those for incoming mail alone
    Dns {
        #[command(flatten)]
        file: File,
    },
    /// Send a test through a running server, and wait for what becomes of it
    Test {
        /// Who gets it [default: RECEIVING_EMAIL]
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// Which of the four addresses it comes from: support, billing, no-reply or security
        #[arg(long, default_value = "no-reply")]
        from: String,
        /// Wait up to this long for its end, such as 30s or 5m
        #[arg(long, value_name = "DURATION", value_parser = status::duration, default_value = "1m")]
        wait: Duration,
        #[command(flatten)]
        server: Server,
    },
    /// List tries to send mails, newest first
    Log(log::Log),
}

#[derive(Args)]
struct File {
    /// File to write the records to; one that is there is replaced
    #[arg(long, value_name = "PATH", default_value = "LEVQOR_EMAIL_DNS.txt")]
    out: PathBuf,
}

impl Email {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::SetupDomain { region, file } => setup_domain(region, &file.out).await,
            Command::VerifyDomain { wait } => verify_domain(wait.unwrap_or_default()).await,
            Command::Dns { file } => print_dns(&file.out).await,
            Command::Test { to, from, wait, server } => test(to.as_deref(), from, *wait, server).await,
            Command::Log(log) => log.run().await,
        }
    }
}

fn config() -> Result<Config, Failure> {
    serve::config(&BTreeMap::new())
}

/// Resend as the configuration has it; `None` where there is no key.
fn resend(config: &Config) -> Option<Resend> {
    let Some(Provider::Resend { api_key, base_url }) = &config.email.provider else { return None };
    let agent = HeaderValue::from_static(concat!("levqor-cli/", env!("CARGO_PKG_VERSION")));
    Some(Resend::new(api_key, base_url, &config.outbound_allow, agent))
}

fn resend_required(config: &Config) -> Result<Resend, Failure> {
    let message =
        "RESEND_API_KEY is not set; a domain is set up at Resend, with a key that has \"Full access\"";
    resend(config).ok_or_else(|| Failure::usage(message))
}

fn now_ms() -> i64 {
    SystemClock.now_ms()
}

fn failed(failure: ResendFailure) -> Failure {
    let hint = match &failure {
        ResendFailure::Refused { word: Some(word), .. } if word == "restricted_api_key" => {
            "; the key may only send: make one with \"Full access\" for this command"
        }
        _ => "",
    };
    let exit = match failure {
        ResendFailure::Refused { .. } | ResendFailure::RateLimited { .. } => Exit::Refused,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, format!("{}{hint}", failure.to_string().replace("the mail", "the request")))
}

async fn setup_domain(region: &str, out: &Path) -> Result<(), Failure> {
    let config = config()?;
    let (resend, name) = (resend_required(&config)?, &config.email.domain);
    let known = resend.find_domain(name, now_ms(), LIMIT_MS).await.map_err(failed)?;
    let domain = match known {
        Some(domain) => {
            say!("{name} is at Resend already; it is {}.", plain(&domain.status));
            domain
        }
        None => {
            let domain = resend.create_domain(name, region, now_ms(), LIMIT_MS).await.map_err(failed)?;
            say!("{name} was added at Resend, region {region}.");
            domain
        }
    };
    write_dns(&config, Some(&domain), out)?;
    say!("Next: add these records at Cloudflare, then run `levqor email verify-domain --wait 10m`.");
    Ok(())
}

async fn print_dns(out: &Path) -> Result<(), Failure> {
    let config = config()?;
    let domain = match resend(&config) {
        Some(resend) => {
            let found = resend.find_domain(&config.email.domain, now_ms(), LIMIT_MS).await.map_err(failed)?;
            Some(found.ok_or_else(|| not_there(&config.email.domain))?)
        }
        None => None,
    };
    write_dns(&config, domain.as_ref(), out)
}

fn not_there(name: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("{name} is not at Resend yet; run `levqor email setup-domain`"))
}

fn write_dns(config: &Config, domain: Option<&Domain>, out: &Path) -> Result<(), Failure> {
    let text = dns::zone(&config.email.domain, config.email.receiving.as_deref(), domain);
    say!("\n{}", text.trim_end());
    std::fs::write(out, &text)
        .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", out.display())))?;
    say!("\nWritten to {}; Cloudflare imports it at DNS → Records → Import.", out.display());
    Ok(())
}

async fn verify_domain(wait: Duration) -> Result<(), Failure> {
    let config = config()?;
    let (resend, name) = (resend_required(&config)?, &config.email.domain);
    let found = resend.find_domain(name, now_ms(), LIMIT_MS).await.map_err(failed)?;
    let mut domain = found.ok_or_else(|| not_there(name))?;
    if domain.status != "verified" {
        resend.verify_domain(&domain.id, now_ms(), LIMIT_MS).await.map_err(failed)?;
    }
    let began = Instant::now();
    loop {
        domain = resend.get_domain(&domain.id, now_ms(), LIMIT_MS).await.map_err(failed)?;
        let left = wait.saturating_sub(began.elapsed());
        if domain.status == "verified" || left.is_zero() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY.min(left)).await;
    }
    say!("{}", dns::state(&domain));
    match domain.status.as_str() {
        "verified" => Ok(()),
        status => {
            let message = format!(
                "{name} is {}: add the records that are missing (`levqor email dns`); DNS may take a while",
                plain(status)
            );
            Err(Failure::failed(message))
        }
    }
}

async fn test(to: Option<&str>, from: &str, wait: Duration, server: &Server) -> Result<(), Failure> {
    let to = match to {
        Some(to) => normalize_email(to),
        None => config()?
            .email
            .receiving
            .ok_or_else(|| Failure::usage("nobody to write to: give --to, or set RECEIVING_EMAIL"))?,
    };
    check_email(&to).map_err(|problem| Failure::usage(format!("--to {}: {problem}", plain(&to))))?;
    let api = Api::new(server)?;
    let payload = json!({"from": from, "to": to, "template": "test", "values": {"server": api.base()}});
    let job = json!({"workflow": mail::WORKFLOW, "payload": payload});
    let accepted = api.ask(Call::post("/api/v1/intake").json(job.to_string())).await?.json();
    let id = accepted["job_id"].as_str().unwrap_or_default().to_owned();
    say!("The test to {to} is job {}.", plain(&id));
    let ended = status::wait(&api, &id, wait).await?.json();
    say!("{}", status::describe(&ended));
    if !status::is_final(&ended["status"]) {
        let tries = api.ask(Call::get("/api/v1/emails").query("job", id)).await?.json();
        say!("{}", log::table(tries["emails"].as_array().map_or(&[][..], Vec::as_slice)));
    }
    status::verdict(&ended["status"], true)
}
