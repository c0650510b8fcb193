//! The redirect, made: a status and a `Location`.

use bytes::Bytes;
use narthex_contract::{Destination, DestinationCx, Outcome, Reply, Response};
use narthex_wire::{Known, Name};

use super::location::Location;

const LOCATION: Name = Name::known(Known::Location);

#[derive(Debug)]
pub struct Redirect {
    pub(super) status: u16,
    pub(super) location: Location,
    pub(super) keep_query: bool,
}

impl Destination for Redirect {
    fn answer<'a>(&'a self, cx: &'a mut DestinationCx<'_>) -> Outcome<'a> {
        let exchange = &*cx.exchange;
        let query = exchange.request.query().filter(|query| self.keep_query && !query.is_empty());
        let mut address = Vec::with_capacity(128);
        self.location.render(exchange, query, &mut address);
        let mut response = Response::new(self.status, Bytes::new());
        let stored = response.head.head.append(&LOCATION, &address);
        debug_assert!(stored.is_ok(), "an escaped address holds no control byte");
        Outcome::Answer(Reply::Response(Box::new(response)))
    }
}
