//! The two bodies on their way: text to bytes towards the service, messages and the frame of trailers towards the client.
//!
//! Neither holds more than one group of base64, and the trailers.

use narthex_contract::{BodyStep, Detail, Input, Output, Reply, Step, core, grpc};
use narthex_wire::Head;

use super::BAD_GRPC_WEB;
use super::base64::{decode, encode};

/// Marks the frame of trailers, where the flags of a message stand.
const TRAILERS: u8 = 0x80;

/// A few bytes that are made and not out yet.
#[derive(Default)]
struct Made {
    bytes: [u8; 4],
    at: usize,
    len: usize,
}

impl Made {
    fn set(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().zip(bytes) {
            *place = *byte;
        }
        (self.at, self.len) = (0, bytes.len().min(4));
    }

    /// Whether all of them are out.
    fn push(&mut self, output: &mut Output<'_>) -> bool {
        self.at += output.push(self.bytes.get(self.at..self.len).unwrap_or_default());
        self.at >= self.len
    }
}

/// The request's base64 text becomes what it stands for.
#[derive(Default)]
pub struct Decode {
    group: [u8; 4],
    filled: usize,
    made: Made,
}

impl BodyStep for Decode {
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step {
        loop {
            if !self.made.push(output) {
                return Step::OutputFull;
            }
            let rest = input.remaining();
            let wanted = self.group.get_mut(self.filled..).unwrap_or_default();
            let count = wanted.len().min(rest.len());
            for (place, byte) in wanted.iter_mut().zip(rest) {
                *place = *byte;
            }
            input.consume(count);
            self.filled += count;
            if self.filled == 4 {
                self.filled = 0;
                let Some((bytes, length)) = decode(self.group) else { return bad() };
                self.made.set(bytes.get(..length).unwrap_or_default());
            } else if !input.last {
                return Step::NeedInput;
            } else if self.filled > 0 {
                return bad();
            } else {
                return Step::Done;
            }
        }
    }

    fn keeps_length(&self) -> bool {
        false
    }
}

fn bad() -> Step {
    Step::Fail(BAD_GRPC_WEB.into())
}

/// Where one message ends and the next begins: a flag, four bytes of length, and so many bytes.
#[derive(Default)]
struct Messages {
    head: [u8; 5],
    filled: usize,
    left: u32,
}

impl Messages {
    fn see(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if let Some(place) = self.head.get_mut(self.filled) {
                *place = *first;
                bytes = rest;
                self.filled += 1;
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length);
            } else {
                let count = bytes.len().min(self.left as usize);
                bytes = bytes.get(count..).unwrap_or_default();
                self.left -= count as u32;
            }
            if self.filled == self.head.len() && self.left == 0 {
                self.filled = 0;
            }
        }
    }

    fn is_between(&self) -> bool {
        self.filled == 0
    }
}

/// The answer's messages as they are, or as base64 text; the trailers become the last frame.
pub struct Encode {
    is_text: bool,
    messages: Messages,
    group: [u8; 3],
    filled: usize,
    made: Made,
    /// The frame of trailers, from `at` on.
    frame: Vec<u8>,
    at: usize,
}

impl Encode {
    pub fn new(is_text: bool) -> Self {
        // Where the service sends no trailers, the call has no status: that must not look like a good end.
        let mut missing = Head::new();
        let stored = missing
            .append(&grpc::STATUS, b"13")
            .and_then(|()| missing.append(&grpc::MESSAGE, b"the service ended the call without a status"));
        debug_assert!(stored.is_ok(), "both are visible ASCII");
        let frame = frame_of(&missing);
        Self {
            is_text,
            messages: Messages::default(),
            group: [0; 3],
            filled: 0,
            made: Made::default(),
            frame,
            at: 0,
        }
    }

    /// Moves bytes until there are none or no room for them. `true`: there are none.
    fn carry(&mut self, bytes: &[u8], output: &mut Output<'_>) -> (usize, bool) {
        if !self.is_text {
            let count = output.push(bytes);
            return (count, count == bytes.len());
        }
        let mut rest = bytes;
        loop {
            if !self.made.push(output) {
                return (bytes.len() - rest.len(), false);
            }
            let Some((first, after)) = rest.split_first() else { return (bytes.len(), true) };
            rest = after;
            if let Some(place) = self.group.get_mut(self.filled) {
                *place = *first;
            }
            self.filled += 1;
            if self.filled == 3 {
                self.end_group();
            }
        }
    }

    fn end_group(&mut self) {
        self.made.set(&encode(self.group.get(..self.filled).unwrap_or_default()));
        self.filled = 0;
    }
}

impl BodyStep for Encode {
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step {
        let bytes = input.remaining();
        let (count, is_all) = self.carry(bytes, output);
        self.messages.see(bytes.get(..count).unwrap_or_default());
        input.consume(count);
        if !is_all {
            return Step::OutputFull;
        }
        if input.last {
            if !self.messages.is_between() {
                // A frame of trailers would be read as the rest of the message: the client must see the cut.
                let said = Detail::operator("the service's last message is not whole");
                return Step::Fail(Reply::problem_with(core::SERVICE_TRUNCATED, said));
            }
            let frame = std::mem::take(&mut self.frame);
            let (count, is_all) = self.carry(frame.get(self.at..).unwrap_or_default(), output);
            self.frame = frame;
            self.at += count;
            if !is_all {
                return Step::OutputFull;
            }
        }
        if (input.last || input.flush) && self.filled > 0 {
            self.end_group();
            if !self.made.push(output) {
                return Step::OutputFull;
            }
        }
        if input.last { Step::Done } else { Step::NeedInput }
    }

    fn trailers(&mut self, trailers: Head) -> Option<Head> {
        self.frame = frame_of(&trailers);
        None
    }

    fn keeps_length(&self) -> bool {
        false
    }
}

/// `0x80`, the length, and a block of lower-case field lines.
fn frame_of(trailers: &Head) -> Vec<u8> {
    let mut block = Vec::with_capacity(128);
    for field in trailers.iter() {
        block.extend(field.name.iter().map(u8::to_ascii_lowercase));
        block.extend_from_slice(b": ");
        block.extend_from_slice(field.value);
        block.extend_from_slice(b"\r\n");
    }
    let mut frame = Vec::with_capacity(block.len() + 5);
    frame.push(TRAILERS);
    frame.extend_from_slice(&(block.len() as u32).to_be_bytes());
    frame.extend_from_slice(&block);
    frame
}
