//! The sockets that are open: bound before a configuration goes live, closed after another one has.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use narthex_net::{ListenError, Listener};
use narthex_proxy::Fleet;

use crate::compile::ListenerSpec;

/// By the listener's index: its name and the address that it is bound to.
#[derive(Default)]
pub struct Listeners {
    open: BTreeMap<usize, (String, SocketAddr)>,
}

impl Listeners {
    /// Binds what is new, without serving it yet.
    pub fn bind(
        &self,
        specs: &[ListenerSpec],
        workers: usize,
    ) -> Result<Vec<(usize, String, Listener)>, ListenError> {
        specs
            .iter()
            .filter(|spec| !self.open.contains_key(&spec.index))
            .map(|spec| Ok((spec.index, spec.name.clone(), Listener::bind(spec.address, workers)?)))
            .collect()
    }

    /// Serves what was bound, and closes what is no longer wanted.
    pub async fn serve(
        &mut self,
        fleet: &Fleet,
        bound: Vec<(usize, String, Listener)>,
        specs: &[ListenerSpec],
    ) {
        for (index, name, listener) in bound {
            self.open.insert(index, (name, listener.address));
            fleet.listen(index, listener).await;
        }
        let gone: Vec<_> = self
            .open
            .keys()
            .copied()
            .filter(|index| !specs.iter().any(|spec| spec.index == *index))
            .collect();
        for index in gone {
            fleet.unlisten(index).await;
            self.open.remove(&index);
        }
    }

    /// Closes all, after what the kernel has queued.
    pub async fn close(&mut self, fleet: &Fleet) {
        for index in std::mem::take(&mut self.open).into_keys() {
            fleet.unlisten(index).await;
        }
    }

    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.open.values().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.open.values().map(|(name, address)| (name.as_str(), *address))
    }
}
