//! A copy of a body's beginning, bounded, to send it once more. Knows neither where it comes from nor where it goes.

use narthex_net::BodyBuffer;

/// What is kept of a body that may have to be sent again.
#[derive(Debug)]
pub struct Replay {
    kept: Vec<u8>,
    /// More bytes than this are not kept, and the body cannot be had again.
    bound: usize,
    is_lost: bool,
    /// `kept` is the whole body.
    is_ended: bool,
    /// Where the next bytes come from `kept`.
    at: Option<usize>,
}

impl Replay {
    pub fn new(bound: usize) -> Self {
        Self { kept: Vec::new(), bound, is_lost: false, is_ended: false, at: None }
    }

    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The source gave this; `last`: nothing follows.
    pub fn note(&mut self, bytes: &[u8], last: bool) {
        if self.is_lost {
            return;
        }
        if self.kept.len() + bytes.len() > self.bound {
            self.lose();
            return;
        }
        self.kept.extend_from_slice(bytes);
        self.is_ended = last;
    }

    /// Something was taken that cannot be kept.
    pub fn lose(&mut self) {
        self.is_lost = true;
        self.kept = Vec::new();
        self.at = None;
    }

    /// From the beginning.
    pub fn rewind(&mut self) {
        self.at = (!self.kept.is_empty() || self.is_ended).then_some(0);
    }

    /// Fills the empty buffer with what was kept; `Some(true)`: that was the end. `None`: the source goes on.
    pub fn give(&mut self, buffer: &mut BodyBuffer) -> Option<bool> {
        let at = self.at?;
        let taken = buffer.fill_from(self.kept.get(at..).unwrap_or_default());
        let is_all = at + taken >= self.kept.len();
        self.at = (!is_all).then_some(at + taken);
        Some(is_all && self.is_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(replay: &mut Replay) -> (Vec<u8>, bool) {
        let (mut body, mut buffer) = (Vec::new(), BodyBuffer::default());
        while let Some(last) = replay.give(&mut buffer) {
            body.extend_from_slice(buffer.data());
            buffer.advance(usize::MAX);
            buffer.reset();
            if last {
                return (body, true);
            }
        }
        (body, false)
    }

    #[test]
    fn gives_the_same_again_and_again() {
        let mut replay = Replay::new(100_000);
        assert_eq!(read(&mut replay), (vec![], false), "nothing was asked for twice");
        replay.note(&[7; 50_000], false);
        for _ in 0..2 {
            replay.rewind();
            assert_eq!(read(&mut replay), (vec![7; 50_000], false), "the source goes on");
        }
        replay.note(&[8; 50_000], true);
        replay.rewind();
        let (body, ended) = read(&mut replay);
        assert!(ended);
        assert_eq!((body.len(), body[49_999], body[50_000]), (100_000, 7, 8));
    }

    #[test]
    fn an_empty_body_ends() {
        let mut replay = Replay::new(0);
        replay.note(&[], true);
        replay.rewind();
        assert_eq!(read(&mut replay), (vec![], true));
    }

    #[test]
    fn keeps_no_more_than_its_bound() {
        let mut replay = Replay::new(10);
        replay.note(&[1; 10], false);
        assert!(!replay.is_lost());
        replay.note(&[1], true);
        assert!(replay.is_lost());
        assert_eq!(replay.kept.capacity(), 0);
        replay.rewind();
        assert_eq!(read(&mut replay), (vec![], false));
    }
}
