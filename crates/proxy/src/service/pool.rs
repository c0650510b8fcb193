//! One worker's kept connections to instances. They survive reloads, because they are keyed by instance.

use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use narthex_net::tls::ClientTls;
use narthex_net::{H1Client, H2Client};

use super::{Instance, Place, Service};
use crate::Worker;

fn is_same(made_by: Option<&Arc<ClientTls>>, wanted: Option<&Arc<ClientTls>>) -> bool {
    match (made_by, wanted) {
        (None, None) => true,
        (Some(made_by), Some(wanted)) => Arc::ptr_eq(made_by, wanted),
        _ => false,
    }
}

/// A kept HTTP/1.1 connection.
struct Idle {
    client: Box<H1Client>,
    guest: u64,
    place: Place,
    since: u64,
}

/// A kept HTTP/2 connection, shared by its streams.
struct Shared {
    client: H2Client,
    /// The settings of its TLS.
    made_by: Option<Arc<ClientTls>>,
    guest: u64,
    streams: Rc<Cell<usize>>,
    _place: Place,
    used: u64,
}

impl Shared {
    /// The instance has ended it, or takes no new streams.
    fn is_broken(&mut self) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(self.client.poll_ready(&mut cx), std::task::Poll::Ready(Err(_)))
    }
}

#[derive(Default)]
struct PerInstance {
    idle: Vec<Idle>,
    shared: Vec<Shared>,
    instance: Option<Arc<Instance>>,
    keep: u64,
}

/// A connection on behalf of somebody whose own connection is not known, such as a copy's: for one request.
pub const ALONE: u64 = u64::MAX;

/// All pools of one worker. A connection that was opened on behalf of one client (`guest`: the number of the client's
/// connection) serves nobody else; 0 is anybody's.
#[derive(Default)]
pub struct Pools {
    #[expect(clippy::disallowed_types, reason = "with a hasher that is cheaper still")]
    pools: std::collections::HashMap<u64, PerInstance, BuildHasherDefault<ById>>,
    /// There may be connections on behalf of one client.
    has_guests: bool,
}

/// Instances are numbered one after the other, by ourselves: one multiplication spreads them well enough.
#[derive(Default)]
struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are numbers")
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Counts a stream of a shared connection while it is open.
pub struct StreamPlace(Rc<Cell<usize>>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pools {
    /// The connection that was used last, if the instance has not closed it and it was opened under the TLS settings
    /// that hold now.
    pub fn take(
        &mut self,
        instance: &Instance,
        tls: Option<&Arc<ClientTls>>,
        guest: u64,
    ) -> Option<(Box<H1Client>, Place)> {
        let idle = &mut self.pools.get_mut(&instance.id)?.idle;
        while let Some(at) = idle.iter().rposition(|kept| kept.guest == guest) {
            let mut kept = idle.remove(at);
            if is_same(kept.client.made_by(), tls) && !kept.client.is_stale() {
                return Some((kept.client, kept.place));
            }
        }
        None
    }

    pub fn keep(
        &mut self,
        service: &Service,
        instance: &Arc<Instance>,
        (client, guest): (Box<H1Client>, u64),
        place: Place,
        worker: &Worker,
    ) {
        // Somebody was refused, and nobody waits who could use the connection as it is.
        let is_wanted = service.state.wanted.swap(false, Ordering::AcqRel) && service.state.queue.len() == 0;
        if instance.is_removed() || is_wanted || guest == ALONE {
            return;
        }
        let pool = self.of(service, instance);
        if pool.idle.len() < service.settings.idle_connections && service.state.queue.offer(worker.index()) {
            pool.idle.push(Idle { client, guest, place, since: worker.now() });
            self.has_guests |= guest != 0;
        }
    }

    /// Closes an idle connection of this service, if there is one.
    pub fn give_up_one(&mut self, service: &Service) -> bool {
        let is_of = |place: &Place| Arc::ptr_eq(&place.state, service.state());
        self.pools.values_mut().any(|pool| match pool.idle.first() {
            Some(oldest) if is_of(&oldest.place) => {
                drop(pool.idle.remove(0));
                true
            }
            _ => false,
        })
    }

    fn of(&mut self, service: &Service, instance: &Arc<Instance>) -> &mut PerInstance {
        let pool = self.pools.entry(instance.id).or_default();
        if pool.instance.is_none() {
            pool.instance = Some(Arc::clone(instance));
            pool.keep = service.settings.times.keep.as_nanos() as u64;
        }
        pool
    }

    /// A shared connection with room for one more stream.
    pub fn share(
        &mut self,
        instance: &Instance,
        tls: Option<&Arc<ClientTls>>,
        guest: u64,
        now: u64,
    ) -> Option<(H2Client, StreamPlace)> {
        let shared = &mut self.pools.get_mut(&instance.id)?.shared;
        let fits = |kept: &Shared| {
            kept.guest == guest
                && kept.streams.get() < kept.client.max_streams()
                && is_same(kept.made_by.as_ref(), tls)
        };
        // Only the one that is taken is asked how it is: a burst may have left many.
        let mut from = 0;
        loop {
            let at = from + shared.get(from..)?.iter().position(fits)?;
            let kept = shared.get_mut(at)?;
            if !kept.is_broken() {
                kept.used = now;
                kept.streams.set(kept.streams.get() + 1);
                return Some((kept.client.clone(), StreamPlace(Rc::clone(&kept.streams))));
            }
            drop(shared.remove(at));
            from = at;
        }
    }

    pub fn add_shared(
        &mut self,
        service: &Service,
        instance: &Arc<Instance>,
        (client, made_by, guest): (H2Client, Option<Arc<ClientTls>>, u64),
        place: Place,
        now: u64,
    ) -> StreamPlace {
        let streams = Rc::new(Cell::new(1));
        let pool = self.of(service, instance);
        let streams_of = Rc::clone(&streams);
        pool.shared.push(Shared { client, made_by, guest, streams: streams_of, _place: place, used: now });
        self.has_guests |= guest != 0;
        StreamPlace(streams)
    }

    /// A client's connection has ended: closes what was open on its behalf. Streams that are under way end first.
    pub fn leave(&mut self, guest: u64) {
        if !self.has_guests {
            return;
        }
        for pool in self.pools.values_mut() {
            pool.idle.retain(|kept| kept.guest != guest);
            pool.shared.retain(|kept| kept.guest != guest);
        }
    }

    /// Closes what is stale, too old, or belongs to an instance that is gone.
    pub fn sweep(&mut self, now: u64) {
        let mut has_guests = false;
        self.pools.retain(|_, pool| {
            let removed = pool.instance.as_ref().is_none_or(|instance| instance.is_removed());
            if removed {
                pool.idle.clear();
            }
            // Another worker found the service at its maximum and has no connection of its own to give up.
            if pool.idle.first().is_some_and(|kept| kept.place.is_wanted()) {
                drop(pool.idle.remove(0));
            }
            pool.idle
                .retain_mut(|kept| now.saturating_sub(kept.since) < pool.keep && !kept.client.is_stale());
            let keep = if removed { 0 } else { pool.keep };
            pool.shared.retain_mut(|kept| {
                let keep = if kept.guest == ALONE { 0 } else { keep };
                let is_wanted = kept.streams.get() > 0 || now.saturating_sub(kept.used) < keep;
                is_wanted && !kept.is_broken()
            });
            has_guests |= pool.idle.iter().any(|kept| kept.guest != 0);
            has_guests |= pool.shared.iter().any(|kept| kept.guest != 0);
            !(pool.idle.is_empty() && pool.shared.is_empty())
        });
        self.has_guests = has_guests;
    }

    /// Closes everything that is idle.
    pub fn clear(&mut self) {
        self.pools.clear();
    }
}
