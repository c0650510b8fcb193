//! [`Head`]: the fields of a message in wire order, in one byte arena, with edits that can be undone.
//! It never holds framing or hop-by-hop fields, and nothing can be put in that would break a line.

use std::fmt;

use crate::chars;
use crate::error::InvalidValue;
use crate::name::{Known, Name, PREFIX, UNKNOWN};
use crate::scan;

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
    /// [`UNKNOWN`]. `plain` says that they stand there as a whole line: `name: value` and CRLF.
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
    fn alive(self) -> bool {
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
    fn name(self) -> Span {
        Span { start: self.0[0], len: self.0[3] & 0xffff }
    }

    #[inline]
    fn value(self) -> Span {
        Span { start: self.0[1], len: self.0[2] }
    }

    /// The known name's number, or [`UNKNOWN`].
    #[inline(always)]
    fn number(self) -> u8 {
        (self.0[3] >> 16) as u8
    }

    #[inline]
    fn known(self) -> Option<Known> {
        Known::from_number(self.number())
    }
}

/// One field of a [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name in the case it came in.
    pub name: &'a [u8],
    pub known: Option<Known>,
    /// The value without surrounding whitespace; bytes 0x80-0xFF are opaque.
    pub value: &'a [u8],
}

/// A point in the history of a [`Head`], to [`Head::rollback`] to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    entries: usize,
    removals: usize,
    arena: usize,
}

/// The fields of a message in wire order: one arena of bytes, entries that point into it.
///
/// Edits append; a removal is a tombstone that is logged. So [`Head::mark`] costs nothing and
/// [`Head::rollback`] restores exactly. Capacity is kept by [`Head::clear`].
#[derive(Clone, Default)]
pub struct Head {
    pub(crate) arena: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
    /// Indices of removed entries, in the order of removal.
    removals: Vec<u32>,
    /// The known names that ever stood here: what was never there need not be looked for.
    pub(crate) seen: Seen,
}

/// One bit for each known name. Two words: shifting one of 128 bits costs several times as much.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen([u64; 2]);

/// [`Seen`] keeps one bit for each.
const _: () = assert!(Known::ALL.len() < 128, "the set of seen names has 128 bits");

/// Lines that are put into many heads: written and checked once.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    /// As if the text began at 0.
    entries: Vec<Entry>,
    seen: Seen,
}

impl Lines {
    /// Lines of known fields.
    ///
    /// # Errors
    /// As [`Head::set`].
    pub fn new<const N: usize>(fields: [(Known, &[u8]); N]) -> Result<Lines, InvalidValue> {
        let mut head = Head::new();
        head.put_all(fields)?;
        Ok(Lines { text: head.arena, entries: head.entries, seen: head.seen })
    }

    /// Writes another value of the same length into line `at`.
    ///
    /// # Errors
    /// When there is no such line, its value is longer or shorter, or this one holds a control character other than
    /// HTAB; then nothing changes.
    #[inline]
    pub fn rewrite<const L: usize>(&mut self, at: usize, value: &[u8; L]) -> Result<(), InvalidValue> {
        if scan::control(value, 0) < L {
            return Err(InvalidValue::Control);
        }
        let span = self.entries.get(at).map(|entry| entry.value()).unwrap_or_default();
        let place = self.text.get_mut(span.start as usize..).and_then(<[u8]>::first_chunk_mut);
        match place.filter(|_| span.len as usize == L) {
            Some(place) => *place = *value,
            None => return Err(InvalidValue::TooLong),
        }
        Ok(())
    }
}

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

    /// [`UNKNOWN`] sets the highest bit, which belongs to no name.
    #[inline(always)]
    pub fn add(&mut self, number: u8) {
        self.0[usize::from(number >> 6 & 1)] |= 1 << (number & 63);
    }

    #[inline(always)]
    fn has(self, known: Known) -> bool {
        let number = known as u8;
        self.0[usize::from(number >> 6 & 1)] >> (number & 63) & 1 != 0
    }
}

impl Head {
    /// An empty head that owns no memory.
    pub fn new() -> Head {
        Head::default()
    }

    /// An empty head whose arena is this vector; its contents are dropped, its capacity is kept.
    pub fn with_arena(mut arena: Vec<u8>) -> Head {
        arena.clear();
        Head { arena, ..Head::default() }
    }

    /// Removes everything and keeps the capacity.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.forget();
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len() - self.removals.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fields in wire order; appended ones come last.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().filter(|e| e.alive()).map(|e| Field {
            name: e.name().of(&self.arena),
            known: e.known(),
            value: e.value().of(&self.arena),
        })
    }

    /// The first value of a name.
    #[inline]
    pub fn get(&self, name: &Name) -> Option<&[u8]> {
        match name.as_known() {
            Some(known) => self.get_known(known),
            None => self.first_custom(name.as_str()),
        }
    }

    /// All values of a name, in wire order.
    pub fn get_all<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a [u8]> {
        self.matching(name.as_known(), name.as_str())
    }

    /// The first value of a known name.
    #[inline]
    pub fn get_known(&self, known: Known) -> Option<&[u8]> {
        if !self.has_seen(known) {
            return None;
        }
        let entry = self.entries.iter().find(|e| e.number() == known as u8 && e.alive())?;
        Some(entry.value().of(&self.arena))
    }

    /// All values of a known name, in wire order.
    pub fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.entries
            .iter()
            .filter(move |e| e.number() == known as u8 && e.alive())
            .map(|e| e.value().of(&self.arena))
    }

    /// The first value of a name given as text, in any case.
    pub fn get_str(&self, name: &str) -> Option<&[u8]> {
        match Known::lookup(name.as_bytes()) {
            Some(known) => self.get_known(known),
            None => self.first_custom(name),
        }
    }

    /// All values of a name given as text, in any case.
    pub fn all_str<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.matching(Known::lookup(name.as_bytes()), name)
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &Name) -> bool {
        self.get(name).is_some()
    }

    /// Adds a field at the end. Surrounding spaces and tabs of the value are dropped.
    ///
    /// # Errors
    /// When the value holds a control character other than HTAB, or the field is a framing or
    /// hop-by-hop field, which is a typed field of the message.
    pub fn append(&mut self, name: &Name, value: &[u8]) -> Result<(), InvalidValue> {
        self.push(name.as_known(), name.as_str().as_bytes(), value)
    }

    /// Adds a field whose name is bytes, with the same checks as [`Head::append`] and that of the name.
    pub fn append_raw(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidValue> {
        let known = Known::lookup(name);
        if known.is_none() && !chars::is_token(name) {
            return Err(InvalidValue::Name);
        }
        self.push(known, name, value)
    }

    /// Removes all fields of the name, then adds this one; no field of the name is left if it is refused.
    pub fn set(&mut self, name: &Name, value: &[u8]) -> Result<(), InvalidValue> {
        self.remove(name);
        self.append(name, value)
    }

    /// As [`Head::set`] for a known field, for the gateway's own values on the request path: no look-up of the name.
    ///
    /// # Errors
    /// As [`Head::set`].
    pub fn put(&mut self, known: Known, value: &[u8]) -> Result<(), InvalidValue> {
        self.put_all([(known, value)])
    }

    /// As [`Head::put`] for several fields, which share room, check and look at what was there.
    ///
    /// # Errors
    /// As [`Head::set`]; then none of them is added.
    #[inline(always)]
    pub fn put_all<const N: usize>(&mut self, fields: [(Known, &[u8]); N]) -> Result<(), InvalidValue> {
        for (known, _) in fields {
            if known.is_reserved() {
                return Err(InvalidValue::Reserved);
            }
            if self.has_seen(known) {
                self.remove_where(|e, _| e.number() == known as u8);
            }
        }
        let most = fields.iter().map(|(_, value)| PREFIX + value.len() + 2).sum();
        if !self.has_room(most) {
            return Err(InvalidValue::TooLong);
        }
        let begun = self.arena.len();
        self.arena.reserve(most);
        self.entries.reserve(N);
        for (known, value) in fields {
            // A copy of fixed length costs less than a fitting one.
            let (prefix, len) = known.line_prefix();
            let start = self.arena.len();
            self.arena.extend_from_slice(prefix);
            let at = start + len;
            self.arena.truncate(at);
            self.arena.extend_from_slice(value);
            let end = self.arena.len();
            self.arena.extend_from_slice(b"\r\n");
            self.enter(Entry::new(Span::new(start, at - 2), Span::new(at, end), known as u8, true));
        }
        // Each line brings its own CR and LF, and no other control character.
        let written = self.arena.get(begun..).unwrap_or_default();
        if scan::count_controls(written) != 2 * N {
            self.entries.truncate(self.entries.len() - N);
            self.arena.truncate(begun);
            return Err(InvalidValue::Control);
        }
        Ok(())
    }

    /// As [`Head::put_all`], with lines that were made before.
    ///
    /// # Errors
    /// When the head is full.
    #[inline]
    pub fn put_lines(&mut self, lines: &Lines) -> Result<(), InvalidValue> {
        if self.seen.meets(lines.seen) {
            self.remove_where(|e, _| {
                e.number() != UNKNOWN && lines.entries.iter().any(|l| l.number() == e.number())
            });
        }
        if !self.has_room(lines.text.len()) {
            return Err(InvalidValue::TooLong);
        }
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(&lines.text);
        self.entries.extend(lines.entries.iter().map(|entry| entry.behind(start)));
        self.seen.unite(lines.seen);
        Ok(())
    }

    /// Removes all fields of the name; says whether there were any.
    pub fn remove(&mut self, name: &Name) -> bool {
        match name.as_known() {
            Some(known) => self.has_seen(known) && self.remove_where(|e, _| e.number() == known as u8),
            None => self.remove_custom(name.as_str().as_bytes()),
        }
    }

    /// Removes all fields whose name begins so, in any case; says whether there were any.
    pub fn remove_prefix(&mut self, prefix: &str) -> bool {
        let prefix = prefix.as_bytes();
        self.remove_where(|e, arena| {
            let name = e.name().of(arena);
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
    }

    /// This point in time, for [`Head::rollback`].
    pub fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), removals: self.removals.len(), arena: self.arena.len() }
    }

    /// Undoes every edit since `mark`. Marks may be nested; rolling back to an outer one voids the inner ones.
    pub fn rollback(&mut self, mark: Mark) {
        for &index in self.removals.get(mark.removals..).unwrap_or_default() {
            if let Some(entry) = self.entries.get_mut(index as usize) {
                entry.revive();
            }
        }
        self.removals.truncate(mark.removals);
        self.entries.truncate(mark.entries);
        self.arena.truncate(mark.arena);
    }

    fn matching<'a>(&'a self, known: Option<Known>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let number = known.map_or(UNKNOWN, |k| k as u8);
        self.entries.iter().filter(move |e| e.number() == number && e.alive()).filter_map(move |e| {
            let same = known.is_some() || e.name().of(&self.arena).eq_ignore_ascii_case(name.as_bytes());
            same.then(|| e.value().of(&self.arena))
        })
    }

    fn first_custom(&self, name: &str) -> Option<&[u8]> {
        let same = |e: &&Entry| {
            e.number() == UNKNOWN
                && e.alive()
                && e.name().of(&self.arena).eq_ignore_ascii_case(name.as_bytes())
        };
        self.entries.iter().find(same).map(|e| e.value().of(&self.arena))
    }

    fn push(&mut self, known: Option<Known>, name: &[u8], value: &[u8]) -> Result<(), InvalidValue> {
        if known.is_some_and(Known::is_reserved) {
            return Err(InvalidValue::Reserved);
        }
        let value = chars::trim(value);
        if scan::control(value, 0) < value.len() {
            return Err(InvalidValue::Control);
        }
        if name.len() > u16::MAX as usize || !self.has_room(name.len() + value.len() + 4) {
            return Err(InvalidValue::TooLong);
        }
        self.arena.reserve(name.len() + value.len() + 4);
        let name = self.store(name);
        self.store(b": ");
        let value = self.store(value);
        self.store(b"\r\n");
        let known = known.map_or(UNKNOWN, |known| known as u8);
        self.enter(Entry::new(name, value, known, true));
        Ok(())
    }

    /// Adds an entry.
    #[inline]
    pub(crate) fn enter(&mut self, entry: Entry) {
        self.seen.add(entry.number());
        self.entries.push(entry);
    }

    #[inline]
    fn has_seen(&self, known: Known) -> bool {
        self.seen.has(known)
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.arena.len().checked_add(bytes).is_some_and(|end| end <= u32::MAX as usize)
    }

    /// Copies bytes behind the arena. The caller has asked [`Head::has_room`].
    pub(crate) fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(start, self.arena.len())
    }

    /// Writes the fields as lines. Lines that stand in the arena side by side are copied at once.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>) {
        let (mut start, mut end) = (0, 0);
        for entry in &self.entries {
            if entry.is_whole_line() {
                if entry.name().start != end {
                    self.write_run(start, end, out);
                    start = entry.name().start;
                }
                end = entry.line_end();
            } else if entry.alive() {
                self.write_run(start, end, out);
                (start, end) = (0, 0);
                for part in [entry.name().of(&self.arena), b": ", entry.value().of(&self.arena), b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
        self.write_run(start, end, out);
    }

    #[inline]
    fn write_run(&self, start: u32, end: u32, out: &mut Vec<u8>) {
        if start < end {
            out.extend_from_slice(self.arena.get(start as usize..end as usize).unwrap_or_default());
        }
    }

    /// Drops the entries and leaves the arena as it is.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
        self.removals.clear();
        self.seen = Seen::default();
    }

    /// Removes the fields of a name that is not a known one.
    pub(crate) fn remove_custom(&mut self, name: &[u8]) -> bool {
        self.remove_where(|e, arena| {
            e.number() == UNKNOWN
                && e.name().len as usize == name.len()
                && e.name().of(arena).eq_ignore_ascii_case(name)
        })
    }

    fn remove_where(&mut self, mut matches: impl FnMut(&Entry, &[u8]) -> bool) -> bool {
        let before = self.removals.len();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.alive() && matches(entry, &self.arena) {
                entry.kill();
                self.removals.push(index as u32);
            }
        }
        self.removals.len() > before
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        f.debug_map().entries(self.iter().map(|e| (text(e.name), text(e.value)))).finish()
    }
}
