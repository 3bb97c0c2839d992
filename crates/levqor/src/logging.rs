//! Log lines: one writer thread behind a bounded buffer, so that a slow terminal or a full pipe never holds up a request.
//!
//! Callers append a finished line under a short lock; the thread takes all there is and writes it at once. When the buffer
//! is full, lines are dropped and counted, and the count is logged as soon as there is room. Nothing here knows requests:
//! their line is made in `http/access_log.rs`.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogLevel};

/// Lines that may wait to be written, in bytes.
const BUFFER_BYTES: usize = 4 << 20;

/// After a write the thread rests this long, so that a busy server wakes it some fifty times a second and not per line.
const GATHER: Duration = Duration::from_millis(20);

/// Where log lines go. Cheap to clone.
#[derive(Clone)]
pub struct LogSink(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    /// The buffer got its first line, or it is to be closed.
    filled: Condvar,
    /// All lines that had been appended are written.
    written: Condvar,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    /// Lines lost since the last write.
    untold: u64,
    dropped: u64,
    is_writing: bool,
    is_closed: bool,
}

impl LogSink {
    /// Starts the writer thread.
    pub fn start(out: Box<dyn Write + Send>) -> io::Result<LogSink> {
        let shared = Arc::new(Shared {
            buffer: Mutex::new(Buffer::default()),
            filled: Condvar::new(),
            written: Condvar::new(),
        });
        let writer = shared.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_all(out))?;
        Ok(LogSink(shared))
    }

    /// Appends what `line` writes; it must end with a newline. Never waits for the output.
    pub fn append(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.0.lock();
        if buffer.lines.len() >= BUFFER_BYTES || buffer.is_closed {
            buffer.untold += 1;
            buffer.dropped += 1;
            return;
        }
        let was_empty = buffer.lines.is_empty();
        line(&mut buffer.lines);
        drop(buffer);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// Lines lost since the start because the output was too slow.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Waits until all lines so far are written (at most two seconds), then takes no more. For the end of the process.
    pub fn close(&self) {
        let mut buffer = self.0.lock();
        buffer.is_closed = true;
        self.0.filled.notify_one();
        let limit = Duration::from_secs(2);
        let is_busy = |buffer: &mut Buffer| !buffer.lines.is_empty() || buffer.is_writing;
        drop(self.0.written.wait_timeout_while(buffer, limit, is_busy));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write_all(&self, mut out: Box<dyn Write + Send>) {
        let mut lines = Vec::new();
        loop {
            let mut buffer = self.lock();
            buffer.is_writing = false;
            self.written.notify_all();
            while buffer.lines.is_empty() && buffer.untold == 0 {
                if buffer.is_closed {
                    return;
                }
                buffer = self.filled.wait(buffer).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            lines.clear();
            std::mem::swap(&mut lines, &mut buffer.lines);
            let untold = std::mem::take(&mut buffer.untold);
            let is_closed = buffer.is_closed;
            buffer.is_writing = true;
            drop(buffer);

            if untold > 0 {
                // JSON in either format: those who read lines by program need it, and a person can read it too.
                let line = format!(
                    "{{\"level\":\"WARN\",\"message\":\"log lines dropped\",\"count\":{untold}}}
"
                );
                lines.extend_from_slice(line.as_bytes());
            }
            // An output that is gone (a closed pipe) loses its lines; there is nowhere left to say so.
            let _ = out.write_all(&lines).and_then(|()| out.flush());
            if !is_closed {
                std::thread::sleep(GATHER);
            }
        }
    }
}

/// Lets tracing write through the same buffer: it hands over one whole line per call.
impl Write for LogSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(|lines| lines.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = LogSink;

    fn make_writer(&'a self) -> LogSink {
        self.clone()
    }
}

/// Sends tracing's events to the sink. Other crates speak from `warn` on, ours from the level that was set.
pub fn install(sink: &LogSink, level: LogLevel, format: LogFormat) {
    let word = format!("{level:?}").to_lowercase();
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    let ours = ["levqor", "levqor_core", "levqor_store", "levqor_connectors", "levqor_engine"];
    let filter = ours.iter().fold(others.to_owned(), |filter, name| format!("{filter},{name}={word}"));
    let filter = tracing_subscriber::EnvFilter::new(filter);
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(sink.clone()).with_ansi(false);
    // A second call (tests) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    /// An output that waits for a permit before each write, and tells what it wrote.
    struct Gated {
        permits: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.permits.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_output_drops_lines_and_says_how_many() {
        let (permit, permits) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let sink = LogSink::start(Box::new(Gated { permits, written: sender })).unwrap();

        let line = [b'x'; 64 * 1024];
        for _ in 0..(3 * BUFFER_BYTES / line.len()) {
            sink.append(|lines| lines.extend_from_slice(&line));
        }
        assert!(sink.dropped() > 0, "the buffer is bounded");
        let dropped = sink.dropped();
        for _ in 0..8 {
            permit.send(()).unwrap();
        }
        drop(permit);
        sink.close();

        let all: Vec<u8> = written.try_iter().flatten().collect();
        let told = format!("\"message\":\"log lines dropped\",\"count\":{dropped}");
        let tail = String::from_utf8_lossy(&all[all.len().saturating_sub(200)..]).into_owned();
        assert!(tail.contains(&told), "{tail:?} must contain {told:?}");
    }

    #[test]
    fn closing_waits_for_the_last_line() {
        let (permit, permits) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        drop(permit);
        let sink = LogSink::start(Box::new(Gated { permits, written: sender })).unwrap();

        sink.append(|lines| lines.extend_from_slice(b"last words\n"));
        sink.close();

        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(all, b"last words\n");
    }
}
