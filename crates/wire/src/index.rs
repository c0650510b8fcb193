//! Where the fields of a head stand in its arena: one entry for each, the known names among them, and the stretches of
//! lines that can be sent as they are. Holds no bytes.

use crate::name::Known;

/// A range of the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// Invariant: a wire head is bounded far below 4 GiB, and appending checks it.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    pub fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    #[inline]
    pub fn of(self, arena: &[u8]) -> &[u8] {
        arena.get(self.start as usize..self.end()).unwrap_or_default()
    }
}

/// One field: where its name and value are in the arena. Four words, so that moving one costs one addition: where the name
/// begins, where the value begins, how long the value is, and [`Entry::pack`]ed the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry([u32; 4]);

/// In [`Entry::flags`]: not removed.
const ALIVE: u8 = 1;
/// In [`Entry::flags`]: the arena has `: ` between name and value and CRLF behind the value.
const PLAIN: u8 = 2;

impl Entry {
    /// An entry for bytes that are in the arena and have been checked; the name is a known one's number or
    /// [`crate::name::UNKNOWN`]. `plain` says that they stand there as a whole line: `name: value` and CRLF.
    #[inline(always)]
    pub fn new(name: Span, value: Span, known: u8, plain: bool) -> Entry {
        let flags = if plain { ALIVE | PLAIN } else { ALIVE };
        Entry([name.start, value.start, value.len, Entry::pack(name.len as u16, known, flags)])
    }

    #[inline(always)]
    fn pack(name_len: u16, known: u8, flags: u8) -> u32 {
        u32::from(name_len) | u32::from(known) << 16 | u32::from(flags) << 24
    }

    /// The same, so many bytes further in the arena.
    #[inline(always)]
    fn behind(self, bytes: u32) -> Entry {
        let by = [bytes, bytes, 0, 0];
        Entry(std::array::from_fn(|at| self.0[at].wrapping_add(by[at])))
    }

    #[inline(always)]
    fn flags(self) -> u8 {
        (self.0[3] >> 24) as u8
    }

    #[inline]
    pub fn is_alive(self) -> bool {
        self.flags() & ALIVE != 0
    }

    #[inline]
    fn kill(&mut self) {
        self.0[3] &= !(u32::from(ALIVE) << 24);
    }

    #[inline]
    fn revive(&mut self) {
        self.0[3] |= u32::from(ALIVE) << 24;
    }

    #[inline(always)]
    fn is_whole_line(self) -> bool {
        self.flags() == ALIVE | PLAIN
    }

    /// Of a whole line: where the next one may begin.
    #[inline(always)]
    fn line_end(self) -> u32 {
        self.0[1] + self.0[2] + 2
    }

    #[inline]
    pub fn name(self) -> Span {
        Span { start: self.0[0], len: self.0[3] & 0xffff }
    }

    #[inline]
    pub fn value(self) -> Span {
        Span { start: self.0[1], len: self.0[2] }
    }

    /// The known name's number, or [`crate::name::UNKNOWN`].
    #[inline(always)]
    pub fn number(self) -> u8 {
        (self.0[3] >> 16) as u8
    }

    #[inline]
    pub fn known(self) -> Option<Known> {
        Known::from_number(self.number())
    }
}

/// One bit for each known name. Two words: shifting one of 128 bits costs several times as much.
#[derive(Clone, Copy, Debug, Default)]
struct Seen([u64; 2]);

/// [`Seen`] keeps one bit for each.
const _: () = assert!(Known::ALL.len() < 128, "the set of seen names has 128 bits");

impl Seen {
    #[inline(always)]
    fn meets(self, other: Seen) -> bool {
        (self.0[0] & other.0[0]) | (self.0[1] & other.0[1]) != 0
    }

    #[inline(always)]
    fn unite(&mut self, other: Seen) {
        self.0[0] |= other.0[0];
        self.0[1] |= other.0[1];
    }

    /// [`crate::name::UNKNOWN`] sets the highest bit, which belongs to no name.
    #[inline(always)]
    fn add(&mut self, number: u8) {
        self.0[usize::from(number >> 6 & 1)] |= 1 << (number & 63);
    }

    #[inline(always)]
    fn has(self, known: Known) -> bool {
        let number = known as u8;
        self.0[usize::from(number >> 6 & 1)] >> (number & 63) & 1 != 0
    }
}

/// The fields of a head, in wire order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    /// The known names that ever stood here: what was never there need not be looked for.
    seen: Seen,
    /// Where whole lines stand one behind the other: begin and end.
    runs: Vec<(u32, u32)>,
    /// A line was removed, or does not stand in the arena as it is sent: the runs do not tell what is to be sent.
    is_odd: bool,
}

impl Index {
    #[inline(always)]
    pub fn enter(&mut self, entry: Entry) {
        self.seen.add(entry.number());
        self.entries.push(entry);
        if entry.is_whole_line() {
            self.note_run(entry.name().start, entry.line_end());
        } else {
            self.is_odd = true;
        }
    }

    /// Enters whole lines that stand from `begin` to `end`, as `lines` has them from 0 on.
    #[inline]
    pub fn enter_all(&mut self, lines: &Index, begin: u32, end: u32) {
        self.entries.extend(lines.entries.iter().map(|entry| entry.behind(begin)));
        self.seen.unite(lines.seen);
        self.note_run(begin, end);
    }

    #[inline(always)]
    fn note_run(&mut self, begin: u32, end: u32) {
        match self.runs.last_mut() {
            Some(last) if last.1 == begin => last.1 = end,
            // Of no use any more, and with rollbacks there might be any number of them.
            _ if self.is_odd => {}
            _ => self.runs.push((begin, end)),
        }
    }

    pub fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets all entries but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.is_odd |= count < self.entries.len();
        self.entries.truncate(count);
    }

    /// The fields that are not removed.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_alive())
    }

    /// As entered, whether removed or not.
    pub fn get(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    #[inline]
    pub fn has_seen(&self, known: Known) -> bool {
        self.seen.has(known)
    }

    /// Whether a known name of the other may be here too.
    #[inline(always)]
    pub fn meets(&self, other: &Index) -> bool {
        self.seen.meets(other.seen)
    }

    /// Removes what `matches`; notes which in `removals`.
    pub fn remove(&mut self, mut matches: impl FnMut(&Entry) -> bool, removals: &mut Vec<u32>) -> bool {
        let before = removals.len();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if entry.is_alive() && matches(entry) {
                entry.kill();
                removals.push(at as u32);
            }
        }
        let any = removals.len() > before;
        self.is_odd |= any;
        any
    }

    pub fn revive(&mut self, at: u32) {
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.revive();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.seen = Seen::default();
        self.runs.clear();
        self.is_odd = false;
    }

    /// Writes the fields as lines. Lines that stand in the arena side by side are copied at once.
    #[inline]
    pub fn write_lines(&self, arena: &[u8], out: &mut Vec<u8>) {
        if self.is_odd {
            return self.write_one_by_one(arena, out);
        }
        for (begin, end) in &self.runs {
            out.extend_from_slice(arena.get(*begin as usize..*end as usize).unwrap_or_default());
        }
    }

    #[inline(never)]
    fn write_one_by_one(&self, arena: &[u8], out: &mut Vec<u8>) {
        for entry in self.iter() {
            if entry.is_whole_line() {
                let line = entry.name().start as usize..entry.line_end() as usize;
                out.extend_from_slice(arena.get(line).unwrap_or_default());
            } else {
                for part in [entry.name().of(arena), b": ", entry.value().of(arena), b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
    }
}
