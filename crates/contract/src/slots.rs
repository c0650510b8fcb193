//! A request's own state of a policy: typed slots in storage that the exchange recycles. No `dyn Any`.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

/// What a slot may hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SlotValue {
    #[default]
    Empty,
    Number(u64),
    Flag(bool),
    Text(Arc<str>),
    Bytes(Bytes),
}

/// A type that fits in a slot.
pub trait SlotType: Sized {
    fn into_value(self) -> SlotValue;
    fn from_value(value: &SlotValue) -> Option<Self>;
}

macro_rules! slot_types { ($($type:ty => $variant:ident),+) => { $(
    impl SlotType for $type {
        fn into_value(self) -> SlotValue { SlotValue::$variant(self) }
        fn from_value(value: &SlotValue) -> Option<Self> {
            match value { SlotValue::$variant(inner) => Some(inner.clone()), _ => None }
        }
    })+ };
}
slot_types!(u64 => Number, bool => Flag, Arc<str> => Text, Bytes => Bytes);

/// A place in [`Slots`], given out at compile by `CompileCx::slot`.
#[derive(Debug)]
pub struct Slot<T> {
    index: u32,
    holds: PhantomData<fn() -> T>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T: SlotType> Slot<T> {
    pub(crate) fn new(index: u32) -> Self {
        Self { index, holds: PhantomData }
    }
}

/// The slots of one exchange.
#[derive(Debug, Default, Clone)]
pub struct Slots(Vec<SlotValue>);

impl Slots {
    /// Empties all and makes room for `count`.
    pub fn reset(&mut self, count: usize) {
        if self.0.is_empty() && count == 0 {
            // As nearly always.
            return;
        }
        self.0.clear();
        self.0.resize(count, SlotValue::Empty);
    }

    /// Makes room for `count` without losing what is there (a route's slots after its gateway's).
    pub fn grow(&mut self, count: usize) {
        if self.0.len() < count {
            self.0.resize(count, SlotValue::Empty);
        }
    }

    pub fn read<T: SlotType>(&self, slot: Slot<T>) -> Option<T> {
        self.0.get(slot.index as usize).and_then(T::from_value)
    }

    pub fn write<T: SlotType>(&mut self, slot: Slot<T>, value: T) {
        if let Some(place) = self.0.get_mut(slot.index as usize) {
            *place = value.into_value();
        }
    }

    pub fn clear<T: SlotType>(&mut self, slot: Slot<T>) {
        if let Some(place) = self.0.get_mut(slot.index as usize) {
            *place = SlotValue::Empty;
        }
    }
}
