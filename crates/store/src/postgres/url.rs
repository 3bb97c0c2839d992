//! Reads the database's URL: whom to connect to, and how much TLS.
//!
//! The driver knows `sslmode` disable, prefer and require; we know verify-full and `sslrootcert` too, so these two are read
//! here and taken out. Everything else of the URL is the driver's. Errors never repeat the URL: it holds a password.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::Unverified;
use crate::{Error, Result};

/// Whom to connect to, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub config: tokio_postgres::Config,
    pub tls: MakeRustlsConnect,
}

/// How much of TLS the URL asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    /// TLS if the server has it, without looking at its certificate: an attacker who could forge one could as well say
    /// that there is no TLS. Debian's servers come with a self-made certificate, so a local database simply works.
    Prefer,
    /// TLS with a certificate that is valid for the host. `require` means the same: we have no half-checked mode.
    Verify,
}

pub(super) fn parse(url: &str) -> Result<Target> {
    let (rest, mode, roots) = split(url)?;
    let mut config: tokio_postgres::Config = rest.parse().map_err(|error| {
        bad(&format!("it does not read as postgres://user:password@host:port/name ({})", hint(&error)))
    })?;
    if config.get_hosts().is_empty() {
        return Err(bad("it names no host"));
    }
    config.ssl_mode(match mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        Mode::Verify => SslMode::Require,
    });
    if config.get_application_name().is_none() {
        config.application_name("levqor");
    }
    // A server that is gone without a word (power, a cut cable), or one connection that is (a firewall forgot it), is noticed
    // within seconds, however slow a commit may be: what is not acknowledged is the network's doing.
    config.connect_timeout(Duration::from_secs(4));
    config
        .keepalives_idle(Duration::from_secs(2))
        .keepalives_interval(Duration::from_secs(1))
        .keepalives_retries(3);
    config.tcp_user_timeout(Duration::from_secs(3));
    Ok(Target { config, tls: connector(mode, roots.as_deref())? })
}

/// The same for PostgreSQL's own programs, as the variables that they read: a password in an argument could be seen by everybody
/// on the machine.
pub(super) fn variables(url: &str) -> Result<Vec<(&'static str, String)>> {
    let (_, mode, roots) = split(url)?;
    let config = parse(url)?.config;
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.to_string_lossy().into_owned(),
    });
    let ports = config.get_ports().iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let password = config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut variables =
        vec![("PGHOST", hosts.collect::<Vec<_>>().join(",")), ("PGCONNECT_TIMEOUT", "10".to_owned())];
    let named = [
        ("PGPORT", (!ports.is_empty()).then_some(ports)),
        ("PGUSER", config.get_user().map(str::to_owned)),
        ("PGPASSWORD", password),
        ("PGDATABASE", config.get_dbname().or(config.get_user()).map(str::to_owned)),
        ("PGOPTIONS", config.get_options().map(str::to_owned)),
    ];
    variables.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
    variables.push(("PGAPPNAME", "levqor backup".to_owned()));
    match mode {
        Mode::Disable => variables.push(("PGSSLMODE", "disable".to_owned())),
        Mode::Prefer => variables.push(("PGSSLMODE", "prefer".to_owned())),
        Mode::Verify => {
            let roots = roots.filter(|path| path != "system").unwrap_or_else(|| SYSTEM_ROOTS.to_owned());
            variables.extend([("PGSSLMODE", "verify-full".to_owned()), ("PGSSLROOTCERT", roots)]);
        }
    }
    Ok(variables)
}

/// Where Debian and most others keep the certificates that everybody trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The URL of another database on the same server.
pub(super) fn with_database(url: &str, name: &str) -> String {
    let after = url.find('@').map_or_else(|| url.find("://").map_or(0, |at| at + 3), |at| at + 1);
    let (start, query) = match url[after..].find('?').map(|at| at + after) {
        Some(question) => (&url[..question], &url[question..]),
        None => (url, ""),
    };
    let end = start[after..].find('/').map_or(start.len(), |at| at + after);
    format!("{}/{name}{query}", &start[..end])
}

/// The URL without our two options, and what they say.
fn split(url: &str) -> Result<(String, Mode, Option<String>)> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(bad("it must begin with postgres:// or postgresql://"));
    }
    // A question mark in the password is part of it, as for the driver: options begin after the host.
    let after = url.find('@').map_or(0, |at| at + 1);
    let Some(question) = url[after..].find('?').map(|at| at + after) else {
        return Ok((url.to_owned(), Mode::Prefer, None));
    };
    let (mut mode, mut roots, mut kept) = (Mode::Prefer, None, Vec::new());
    for option in url[question + 1..].split('&') {
        let plus_is_plus = option.replace('+', "%2B");
        let pair = url::form_urlencoded::parse(plus_is_plus.as_bytes()).next();
        match pair.as_ref().map(|(name, value)| (name.as_ref(), value.as_ref())) {
            Some(("sslmode", value)) => mode = parse_mode(value)?,
            Some(("sslrootcert", value)) => roots = Some(value.to_owned()),
            _ => kept.push(option),
        }
    }
    let mut rest = url[..question].to_owned();
    if !kept.is_empty() {
        rest.push('?');
        rest.push_str(&kept.join("&"));
    }
    Ok((rest, mode, roots))
}

fn parse_mode(value: &str) -> Result<Mode> {
    match value {
        "disable" => Ok(Mode::Disable),
        "prefer" => Ok(Mode::Prefer),
        "require" | "verify-full" => Ok(Mode::Verify),
        _ => Err(bad("sslmode must be disable, prefer, require or verify-full")),
    }
}

fn connector(mode: Mode, roots: Option<&str>) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Bug(error.into()))?;
    if mode != Mode::Verify {
        let verifier = Arc::new(Unverified::new(provider));
        let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        return Ok(MakeRustlsConnect::new(config));
    }
    let Some(path) = roots.filter(|path| *path != "system") else {
        // This constructor reads the provider of the process; ours is the one that the binary installs as well.
        rustls::crypto::ring::default_provider().install_default().ok();
        return Ok(MakeRustlsConnect::with_webpki_roots());
    };
    let unreadable =
        |why: &dyn std::fmt::Display| bad(&format!("sslrootcert {path:?} cannot be read: {why}"));
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        store.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
    }
    if store.is_empty() {
        return Err(unreadable(&"it holds no certificate"));
    }
    Ok(MakeRustlsConnect::new(builder.with_root_certificates(store).with_no_client_auth()))
}

fn bad(why: &str) -> Error {
    Error::Refused { what: format!("the URL of the PostgreSQL database cannot be used: {why}") }
}

/// The driver's own words may repeat pieces of the URL, so only the name of an option is taken from them.
fn hint(error: &tokio_postgres::Error) -> String {
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match text.split('`').nth(1) {
        Some(name) if text.starts_with("invalid value") => format!("the value of {name}"),
        _ => "an unknown option or an unescaped character; write @ : / ? # and % in a password as %40 %3A %2F %3F %23 %25".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn our_two_options_are_taken_out_and_the_rest_is_left_alone() {
        let (rest, mode, roots) = split(
            "postgres://me:s?cret@db:6432/levqor?sslmode=verify-full&options=-csearch_path%3Da&sslrootcert=%2Fetc%2Fa+b.pem",
        )
        .unwrap();

        assert_eq!(rest, "postgres://me:s?cret@db:6432/levqor?options=-csearch_path%3Da");
        assert_eq!(mode, Mode::Verify);
        assert_eq!(roots.as_deref(), Some("/etc/a+b.pem"));
    }

    #[test]
    fn every_sslmode_has_one_meaning() {
        for (word, mode) in
            [("disable", SslMode::Disable), ("prefer", SslMode::Prefer), ("require", SslMode::Require)]
        {
            let target = parse(&format!("postgresql://me@db/levqor?sslmode={word}")).unwrap();
            assert_eq!(target.config.get_ssl_mode(), mode, "{word}");
        }
        assert_eq!(parse("postgres://db").unwrap().config.get_ssl_mode(), SslMode::Prefer);
        assert_eq!(
            parse("postgres://db?sslmode=verify-full").unwrap().config.get_ssl_mode(),
            SslMode::Require
        );
    }

    #[test]
    fn programs_of_postgresql_are_told_the_same() {
        let url = "postgres://me:s%20?cret@db:6432/levqor?sslmode=verify-full&options=-csearch_path%3Da";
        let variables = variables(url).unwrap();
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());

        assert_eq!(value("PGHOST"), Some("db"));
        assert_eq!(value("PGPORT"), Some("6432"));
        assert_eq!(value("PGUSER"), Some("me"));
        assert_eq!(value("PGPASSWORD"), Some("s ?cret"));
        assert_eq!(value("PGDATABASE"), Some("levqor"));
        assert_eq!(value("PGOPTIONS"), Some("-csearch_path=a"));
        assert_eq!((value("PGSSLMODE"), value("PGSSLROOTCERT")), (Some("verify-full"), Some(SYSTEM_ROOTS)));
        assert_eq!(
            with_database(url, "x"),
            "postgres://me:s%20?cret@db:6432/x?sslmode=verify-full&options=-csearch_path%3Da"
        );
        assert_eq!(with_database("postgres://db", "x"), "postgres://db/x");
        assert_eq!(with_database("postgres://db/y", "x"), "postgres://db/x");
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_a_word_of_its_password() {
        for url in [
            "mysql://me:hunter2@db/levqor",
            "postgres://me:hunter2@db:notaport/levqor",
            "postgres://me:hun@ter2@db/levqor?hunter2=1",
            "postgres://me:hunter2@db/levqor?sslmode=hunter2",
            "postgres://me:hunter2@db/levqor?connect_timeout=hunter2",
            "postgres://me:hunter2@db/levqor?sslmode=require&sslrootcert=/no/such/file.pem",
            "postgres://me:hunter2@/levqor",
            "hunter2",
            "",
        ] {
            let Err(Error::Refused { what }) = parse(url) else { panic!("{url} was taken") };
            assert!(!what.contains("hunter2") && !what.contains("ter2"), "{what}");
            assert!(what.starts_with("the URL of the PostgreSQL database cannot be used: "), "{what}");
        }
    }
}
