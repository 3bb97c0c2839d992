//! Tells the service manager how far we are, by systemd's protocol: a datagram to the socket that it names. Without one,
//! nothing happens.

use std::io;
use std::os::unix::net::UnixDatagram;

/// Says `READY=1`, `STOPPING=1`. That it cannot be said is no reason to stop.
#[allow(
    clippy::disallowed_methods,
    reason = "set by the service manager for this process; no setting of ours"
)]
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(state, &socket) {
        tracing::warn!(%error, "the service manager cannot be told {state}");
    }
}

fn send(state: &str, socket: &std::ffi::OsStr) -> io::Result<()> {
    let ours = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::net::SocketAddr;

        // Linux has sockets without a file; their names are written with an @ in front.
        if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
            ours.send_to_addr(state.as_bytes(), &SocketAddr::from_abstract_name(name)?)?;
            return Ok(());
        }
    }
    ours.send_to(state.as_bytes(), socket)?;
    Ok(())
}
