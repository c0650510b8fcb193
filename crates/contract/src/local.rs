//! Values that each worker has for itself: an index at compile, a value per worker when it adopts a snapshot.
//!
//! Invariant: an index names one maker at a time; it is free again when no policy and no worker holds that maker.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Exchange;

/// How a worker makes its value.
pub struct LocalSpec {
    index: u32,
    make: Box<dyn Fn() -> Rc<dyn Any> + Send + Sync>,
}

/// Indexes in use: those that came back, and the next new one.
static INDEXES: Mutex<(Vec<u32>, u32)> = Mutex::new((Vec::new(), 0));

impl LocalSpec {
    fn new(make: Box<dyn Fn() -> Rc<dyn Any> + Send + Sync>) -> Arc<Self> {
        let mut indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        let index = indexes.0.pop().unwrap_or_else(|| {
            indexes.1 += 1;
            indexes.1 - 1
        });
        Arc::new(Self { index, make })
    }
}

impl Drop for LocalSpec {
    fn drop(&mut self) {
        INDEXES.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.index);
    }
}

impl fmt::Debug for LocalSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSpec({})", self.index)
    }
}

/// A value of each worker's own: never shared, so it may hold what is not `Send`.
pub struct PerCore<T> {
    spec: Arc<LocalSpec>,
    holds: PhantomData<fn() -> T>,
}

impl<T> Clone for PerCore<T> {
    fn clone(&self) -> Self {
        Self { spec: Arc::clone(&self.spec), holds: PhantomData }
    }
}

impl<T: 'static> PerCore<T> {
    pub(crate) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let make = Box::new(move || Rc::new(make()) as Rc<dyn Any>);
        Self { spec: LocalSpec::new(make), holds: PhantomData }
    }

    pub(crate) fn spec(&self) -> &Arc<LocalSpec> {
        &self.spec
    }

    /// The value of the worker that this exchange is on.
    ///
    /// # Panics
    /// The exchange runs under a snapshot that was compiled without this: a defect of the gateway.
    pub fn of(&self, exchange: &Exchange) -> Rc<T> {
        let value = exchange.locals.at(&self.spec).expect("workers build what their snapshot holds");
        value.downcast::<T>().expect("the maker of this index makes values of this type")
    }
}

/// One worker's values for one snapshot, shared by its exchanges.
#[derive(Clone, Default)]
pub struct Locals(Option<Rc<Table>>);

/// By index.
type Table = Vec<Option<(Arc<LocalSpec>, Rc<dyn Any>)>>;

impl Locals {
    /// Makes what is new and takes over what `before` has of the same makers.
    pub fn build<'s>(specs: impl IntoIterator<Item = &'s Arc<LocalSpec>>, before: &Self) -> Self {
        let mut table = Table::new();
        for spec in specs {
            let index = spec.index as usize;
            if table.len() <= index {
                table.resize_with(index + 1, || None);
            }
            if table[index].is_none() {
                let value = before.at(spec).unwrap_or_else(|| (spec.make)());
                table[index] = Some((Arc::clone(spec), value));
            }
        }
        Self((!table.is_empty()).then(|| Rc::new(table)))
    }

    fn at(&self, spec: &Arc<LocalSpec>) -> Option<Rc<dyn Any>> {
        let (known, value) = self.0.as_ref()?.get(spec.index as usize)?.as_ref()?;
        Arc::ptr_eq(known, spec).then(|| Rc::clone(value))
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locals({})", self.0.as_ref().map_or(0, |table| table.iter().flatten().count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn values_are_taken_over_and_new_ones_made() {
        let (a, b) = (PerCore::new(|| Cell::new(1)), PerCore::new(|| Cell::new(10)));
        let first = Locals::build([a.spec()], &Locals::default());
        let mut exchange = Exchange { locals: first.clone(), ..Exchange::default() };
        a.of(&exchange).set(2);
        exchange.locals = Locals::build([b.spec(), a.spec(), a.spec()], &first);
        assert_eq!((a.of(&exchange).get(), b.of(&exchange).get()), (2, 10));
        exchange.locals = Locals::build([a.spec()], &Locals::default());
        assert_eq!(a.of(&exchange).get(), 1, "another worker has its own");
    }

    #[test]
    fn an_index_is_used_again_only_when_no_worker_holds_it() {
        let a = PerCore::new(|| 1u32);
        let index = a.spec().index;
        let held = Locals::build([a.spec()], &Locals::default());
        drop(a);
        let b = PerCore::new(|| 2u32);
        assert_ne!(b.spec().index, index);
        drop(held);
        let others: Vec<_> = (0..64).map(|_| PerCore::new(|| 3u32)).collect();
        assert!(others.iter().any(|other| other.spec().index == index), "it comes back");
        let exchange =
            Exchange { locals: Locals::build([b.spec()], &Locals::default()), ..Exchange::default() };
        assert_eq!(*b.of(&exchange), 2);
    }
}
