//! [`Head`]: the fields of a message in wire order, in one byte arena, with edits that can be undone.
//! It never holds framing or hop-by-hop fields, and nothing can be put in that would break a line.

use std::fmt;

use crate::chars;
use crate::error::InvalidValue;
use crate::index::Index;
pub(crate) use crate::index::{Entry, Span};
use crate::name::{Known, Name, PREFIX, UNKNOWN};
use crate::scan;

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
    pub(crate) index: Index,
    /// Indices of removed entries, in the order of removal.
    removals: Vec<u32>,
}

/// Lines that are put into many heads: written and checked once.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    /// As if the text began at 0.
    index: Index,
}

impl Lines {
    /// Lines of known fields.
    ///
    /// # Errors
    /// As [`Head::set`].
    pub fn new<const N: usize>(fields: [(Known, &[u8]); N]) -> Result<Lines, InvalidValue> {
        let mut head = Head::new();
        head.put_all(fields)?;
        Ok(Lines { text: head.arena, index: head.index })
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
        let span = self.index.get(at).map(|entry| entry.value()).unwrap_or_default();
        let place = self.text.get_mut(span.start as usize..).and_then(<[u8]>::first_chunk_mut);
        match place.filter(|_| span.len as usize == L) {
            Some(place) => *place = *value,
            None => return Err(InvalidValue::TooLong),
        }
        Ok(())
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
        self.index.len() - self.removals.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fields in wire order; appended ones come last.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.index.iter().map(|e| Field {
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
        let entry = self.index.iter().find(|e| e.number() == known as u8)?;
        Some(entry.value().of(&self.arena))
    }

    /// All values of a known name, in wire order.
    pub fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.index.iter().filter(move |e| e.number() == known as u8).map(|e| e.value().of(&self.arena))
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
        self.index.reserve(N);
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
            self.index.truncate(self.index.len() - N);
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
        if self.index.meets(&lines.index) {
            self.remove_where(|e, _| {
                e.number() != UNKNOWN && lines.index.iter().any(|l| l.number() == e.number())
            });
        }
        if !self.has_room(lines.text.len()) {
            return Err(InvalidValue::TooLong);
        }
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(&lines.text);
        self.index.enter_all(&lines.index, start, start + lines.text.len() as u32);
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
        Mark { entries: self.index.len(), removals: self.removals.len(), arena: self.arena.len() }
    }

    /// Undoes every edit since `mark`. Marks may be nested; rolling back to an outer one voids the inner ones.
    pub fn rollback(&mut self, mark: Mark) {
        for &index in self.removals.get(mark.removals..).unwrap_or_default() {
            self.index.revive(index);
        }
        self.removals.truncate(mark.removals);
        self.index.truncate(mark.entries);
        self.arena.truncate(mark.arena);
    }

    fn matching<'a>(&'a self, known: Option<Known>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let number = known.map_or(UNKNOWN, |k| k as u8);
        self.index.iter().filter(move |e| e.number() == number).filter_map(move |e| {
            let same = known.is_some() || e.name().of(&self.arena).eq_ignore_ascii_case(name.as_bytes());
            same.then(|| e.value().of(&self.arena))
        })
    }

    fn first_custom(&self, name: &str) -> Option<&[u8]> {
        let same = |e: &&Entry| {
            e.number() == UNKNOWN && e.name().of(&self.arena).eq_ignore_ascii_case(name.as_bytes())
        };
        self.index.iter().find(same).map(|e| e.value().of(&self.arena))
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
        self.index.enter(entry);
    }

    #[inline]
    fn has_seen(&self, known: Known) -> bool {
        self.index.has_seen(known)
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

    /// Writes the fields as lines.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>) {
        self.index.write_lines(&self.arena, out);
    }

    /// Drops the entries and leaves the arena as it is.
    pub(crate) fn forget(&mut self) {
        self.index.clear();
        self.removals.clear();
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
        let arena = &self.arena;
        self.index.remove(|entry| matches(entry, arena), &mut self.removals)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        f.debug_map().entries(self.iter().map(|e| (text(e.name), text(e.value)))).finish()
    }
}
