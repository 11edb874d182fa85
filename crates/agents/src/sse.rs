//! Server-sent events, as far as chat completions use them: the data of each event.
//!
//! Source: WHATWG HTML, "Server-sent events".

/// Cuts a byte stream into the data of its events.
#[derive(Debug)]
pub(crate) struct EventParser {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The data lines of the event that is not complete yet.
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    max_bytes: usize,
}

/// An event is larger than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl EventParser {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            after_return: false,
            max_bytes,
        }
    }

    /// Takes the next bytes; `event` gets the data of each event that they complete.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut event: impl FnMut(&[u8]),
    ) -> Result<(), TooLarge> {
        for &byte in bytes {
            let continues_return = self.after_return && byte == b'\n';
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if continues_return => {}
                b'\n' | b'\r' => self.end_line(&mut event),
                _ if self.line.len() + self.data.len() >= self.max_bytes => return Err(TooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, event: &mut impl FnMut(&[u8])) {
        if self.line.is_empty() {
            if self.has_data {
                event(&self.data);
            }
            self.data.clear();
            self.has_data = false;
        } else if let Some(value) = self.line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.has_data = true;
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = EventParser::new(100);
        let mut events = Vec::new();
        for piece in pieces {
            parser
                .push(piece, |data| {
                    events.push(String::from_utf8_lossy(data).into_owned())
                })
                .unwrap();
        }
        events
    }

    #[test]
    fn lines_end_in_three_ways_and_anywhere() {
        let text =
            b": comment\r\ndata: a\r\ndata:b\r\n\r\nevent: x\ndata: c\n\ndata: d\r\rdata: lost";
        assert_eq!(events(&[text]), ["a\nb", "c", "d"]);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(events(&bytes), ["a\nb", "c", "d"]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = EventParser::new(100);
        assert_eq!(parser.push(&[b'x'; 101], |_| ()), Err(TooLarge));
        let mut parser = EventParser::new(100);
        assert_eq!(
            (0..60).try_for_each(|_| parser.push(b"data: xx\n", |_| ())),
            Err(TooLarge)
        );
    }
}
