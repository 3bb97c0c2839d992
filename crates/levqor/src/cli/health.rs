//! `levqor health`: whether a server answers, for health checks that have nothing but this program.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use levqor::config::Config;

use super::client::{Api, Call, Server, Trust};
use super::exit::{Exit, Failure};
use super::out::say;
use super::serve;

/// Whoever checks health gives up at some time too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ask whether a server answers
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor health
  levqor health https://api.example.com

Without an address it asks the server of this machine, by the settings that `levqor serve` would use here.")]
pub struct Health {
    /// Address of the server [default: this machine, by HOST, PORT and TLS_CERT]
    #[arg(value_name = "BASE_URL")]
    base_url: Option<String>,
}

impl Health {
    pub async fn run(&self) -> Result<(), Failure> {
        let (url, trust) = match &self.base_url {
            Some(url) => (url.clone(), Trust::Authorities),
            None => (own_address(&serve::config(&BTreeMap::new())?)?, Trust::Anyone),
        };
        let api = Api::with(&Server { url, key: None }, trust)?;
        let unhealthy = |what: String| Failure::new(Exit::Unreachable, format!("{}: {what}", api.base()));
        let asked = tokio::time::timeout(PATIENCE, api.send(Call::get("/health")));
        let answer =
            asked.await.map_err(|_| unhealthy(format!("no answer within {} s", PATIENCE.as_secs())))??;
        if answer.status != 200 || answer.json()["ok"] != true {
            return Err(unhealthy(format!("unhealthy: status {}", answer.status.as_u16())));
        }
        say!("{} is healthy", api.base());
        Ok(())
    }
}

/// Where `levqor serve` with these settings is reached from this machine.
fn own_address(config: &Config) -> Result<String, Failure> {
    if config.port == 0 {
        return Err(Failure::usage(
            "PORT=0 lets the server take any port: say which, as in levqor health http://127.0.0.1:5000",
        ));
    }
    let host = match config.host {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(host, config.port)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(vars: &[(&str, &str)]) -> Result<String, Failure> {
        let map = vars.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        own_address(&Config::from_map(&map).unwrap())
    }

    #[test]
    fn the_server_of_this_machine_is_found_by_its_settings() {
        assert_eq!(address(&[]).unwrap(), "http://127.0.0.1:5000");
        assert_eq!(address(&[("API_KEYS", "k"), ("PORT", "80")]).unwrap(), "http://127.0.0.1:80");
        let v6 = [("API_KEYS", "k"), ("HOST", "::"), ("TLS_CERT", "c"), ("TLS_KEY", "k")];
        assert_eq!(address(&v6).unwrap(), "https://[::1]:5000");
        assert_eq!(address(&[("PORT", "0")]).unwrap_err().exit, Exit::Usage);
    }
}
