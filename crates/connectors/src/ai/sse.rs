//! Server-sent events, read as they come: bytes in, events out, whatever way the bytes are cut.

/// A line, or the lines of one event, may not be longer.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty where the stream does not name its events.
    pub name: String,
    pub data: String,
}

/// The stream holds what no provider sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What came so far and is no whole event yet.
#[derive(Debug, Default)]
pub struct Sse {
    line: Vec<u8>,
    /// The last line ended with a carriage return: a line feed right after it belongs to it.
    after_cr: bool,
    event: Event,
    has_data: bool,
}

impl Sse {
    /// Takes the next bytes and appends the events that they complete.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        for byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.after_cr) => {}
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    self.end_line(events);
                }
                _ => {
                    self.after_cr = false;
                    if self.line.len() + self.event.data.len() >= MAX_EVENT_BYTES {
                        return Err(TooLong);
                    }
                    self.line.push(*byte);
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                events.push(event);
            }
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            // Comments, ids and retry times mean nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STREAM: &str = ": hello\r\nevent: a\r\ndata: one\r\ndata: two\r\n\r\ndata:{\"x\":1}\n\n\ndata: é\r\rid: 7\nevent: lost\n\n";

    fn whole() -> Vec<Event> {
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        vec![event("a", "one\ntwo"), event("", "{\"x\":1}"), event("", "é")]
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        for cut in 0..=STREAM.len() {
            let (mut sse, mut events) = (Sse::default(), Vec::new());
            sse.feed(&STREAM.as_bytes()[..cut], &mut events).unwrap();
            sse.feed(&STREAM.as_bytes()[cut..], &mut events).unwrap();
            assert_eq!(events, whole(), "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_its_empty_line_is_no_event() {
        let (mut sse, mut events) = (Sse::default(), Vec::new());
        sse.feed(b"data: [DONE]\n", &mut events).unwrap();

        assert_eq!(events, []);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let (mut sse, mut events) = (Sse::default(), Vec::new());
        let part = vec![b'a'; 1 << 20];

        let taken = (0..8).take_while(|_| sse.feed(&part, &mut events).is_ok()).count();

        assert_eq!(taken, 4);
    }
}
