//! Lines that the gateway puts into nearly every head: ids, and the date. Made once, then only their values are written
//! anew. A value of another length than usual (a client's own id) goes the ordinary way.

use narthex_telemetry::http_date;
use narthex_wire::{Head, Known, Lines};

use crate::problem::{put_all, put_known};

/// One worker's lines.
pub struct Stamps {
    /// For a service: correlation id, trace.
    request: Lines,
    /// For a client: correlation id.
    id: Lines,
    /// For a client whose service told no date: date, correlation id.
    dated_id: Lines,
    date: Lines,
    /// The second that the dates tell.
    second: u64,
}

/// A gateway's own correlation id, as text.
type Id = [u8; 32];

impl Default for Stamps {
    fn default() -> Self {
        let (id, date) = (&[b'0'; 32], http_date(0));
        let lines = "digits and dates are visible text";
        Self {
            request: Lines::new([(Known::XRequestId, id), (Known::Traceparent, &[b'0'; 55])]).expect(lines),
            id: Lines::new([(Known::XRequestId, id)]).expect(lines),
            dated_id: Lines::new([(Known::Date, &date), (Known::XRequestId, id)]).expect(lines),
            date: Lines::new([(Known::Date, &date)]).expect(lines),
            second: 0,
        }
    }
}

impl Stamps {
    /// What goes on to a service.
    pub fn stamp_request(&mut self, head: &mut Head, id: &[u8], trace: &[u8; 55]) {
        let Ok(own) = <&Id>::try_from(id) else {
            return put_all(head, [(Known::XRequestId, id), (Known::Traceparent, trace)]);
        };
        let written = self.request.rewrite(0, own).and_then(|()| self.request.rewrite(1, trace));
        debug_assert!(written.is_ok(), "ids are visible text");
        put_lines(head, &self.request);
    }

    /// `Date` (RFC 9110 6.6.1), unless there is one, and the correlation id, unless it is empty. `second`: unix time.
    pub fn stamp_response(&mut self, head: &mut Head, id: &[u8], second: u64) {
        let needs_date = head.get_known(Known::Date).is_none();
        if needs_date && self.second != second {
            self.tell(second);
        }
        match <&Id>::try_from(id) {
            Ok(own) if needs_date => put_lines(head, rewritten(&mut self.dated_id, 1, own)),
            Ok(own) => put_lines(head, rewritten(&mut self.id, 0, own)),
            Err(_) => {
                if needs_date {
                    put_lines(head, &self.date);
                }
                if !id.is_empty() {
                    put_known(head, Known::XRequestId, id);
                }
            }
        }
    }

    fn tell(&mut self, second: u64) {
        let date = http_date(second);
        let told = self.date.rewrite(0, &date).and_then(|()| self.dated_id.rewrite(0, &date));
        debug_assert!(told.is_ok(), "a date is visible text");
        self.second = second;
    }
}

fn rewritten<'l>(lines: &'l mut Lines, at: usize, id: &Id) -> &'l Lines {
    let written = lines.rewrite(at, id);
    debug_assert!(written.is_ok(), "an id is visible text");
    lines
}

fn put_lines(head: &mut Head, lines: &Lines) {
    let stored = head.put_lines(lines);
    debug_assert!(stored.is_ok(), "a head that was read has room for two fields");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(head: &Head) -> String {
        let line = |field: narthex_wire::Field<'_>| {
            format!("{}: {}", String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value))
        };
        head.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_request_gets_its_own_ids_each_time() {
        let mut stamps = Stamps::default();
        for (id, trace) in
            [("1".repeat(32), [b'2'; 55]), ("own".into(), [b'3'; 55]), ("4".repeat(32), [b'5'; 55])]
        {
            let mut head = Head::new();
            head.append_raw(b"x-request-id", b"before").unwrap();
            stamps.stamp_request(&mut head, id.as_bytes(), &trace);
            let trace = String::from_utf8_lossy(&trace).into_owned();
            assert_eq!(text(&head).to_lowercase(), format!("x-request-id: {id}\ntraceparent: {trace}"));
        }
    }

    #[test]
    fn a_response_keeps_its_date_and_gets_what_is_missing() {
        let mut stamps = Stamps::default();
        let id = "a".repeat(32);
        for (id, date, second, expected) in [
            (
                id.as_str(),
                None,
                1,
                "date: thu, 01 jan 1970 00:00:01 gmt\nx-request-id: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
            (id.as_str(), Some("x"), 2, "date: x\nx-request-id: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("own", None, 3, "date: thu, 01 jan 1970 00:00:03 gmt\nx-request-id: own"),
            ("own", Some("x"), 4, "date: x\nx-request-id: own"),
            ("", None, 5, "date: thu, 01 jan 1970 00:00:05 gmt"),
            ("", Some("x"), 6, "date: x"),
        ] {
            let mut head = Head::new();
            if let Some(date) = date {
                head.append_raw(b"date", date.as_bytes()).unwrap();
            }
            stamps.stamp_response(&mut head, id.as_bytes(), second);
            assert_eq!(text(&head).to_lowercase(), expected);
        }
    }
}
