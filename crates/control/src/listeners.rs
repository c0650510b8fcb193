//! The sockets that are open: bound before a configuration goes live, closed after another one has.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use narthex_net::{ListenError, Listener, SocketFile};
use narthex_proxy::Fleet;
use narthex_wire::Address;

use crate::compile::ListenerSpec;

/// By the listener's index.
#[derive(Default)]
pub struct Listeners {
    open: BTreeMap<usize, Open>,
}

/// One address of a listener.
struct Open {
    /// The listener's.
    name: String,
    /// What it is bound to.
    address: Address,
    /// Of a Unix socket: its file, there for as long as this is, and its permissions.
    file: Option<(SocketFile, u32)>,
}

/// A socket that is bound, and whose turn has not come.
pub struct Bound {
    spec: ListenerSpec,
    listener: Listener,
}

impl Listeners {
    /// Binds what is new, without serving it yet.
    pub fn bind(&self, specs: &[ListenerSpec], workers: usize) -> Result<Vec<Bound>, ListenError> {
        specs
            .iter()
            .filter(|spec| !self.open.contains_key(&spec.index))
            .map(|spec| {
                let listener = Listener::bind(spec.address, workers, spec.mode)?;
                Ok(Bound { spec: spec.clone(), listener })
            })
            .collect()
    }

    /// Serves what was bound, and closes what is no longer wanted.
    pub async fn serve(&mut self, fleet: &Fleet, bound: Vec<Bound>, specs: &[ListenerSpec]) {
        for Bound { spec, mut listener } in bound {
            let file = listener.file.take().map(|file| (file, spec.mode));
            self.open.insert(spec.index, Open { name: spec.name, address: listener.address, file });
            fleet.listen(spec.index, listener).await;
        }
        for spec in specs {
            let open = self.open.get_mut(&spec.index);
            if let Some((file, mode)) = open.and_then(|open| open.file.as_mut())
                && *mode != spec.mode
            {
                file.allow(spec.mode);
                *mode = spec.mode;
            }
        }
        let is_gone = |index: &usize| !specs.iter().any(|spec| spec.index == *index);
        let gone: Vec<_> = self.open.keys().copied().filter(is_gone).collect();
        for index in gone {
            self.end(fleet, index).await;
        }
    }

    /// Closes all, after what the kernel has queued.
    pub async fn close(&mut self, fleet: &Fleet) {
        let all: Vec<_> = self.open.keys().copied().collect();
        for index in all {
            self.end(fleet, index).await;
        }
    }

    /// A Unix socket's file goes first: nobody finds a socket that is about to close.
    async fn end(&mut self, fleet: &Fleet, index: usize) {
        drop(self.open.remove(&index));
        fleet.unlisten(index).await;
    }

    /// The first TCP address of a listener.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.all().filter(|(known, _)| *known == name).find_map(|(_, address)| address.socket())
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, Address)> {
        self.open.values().map(|open| (open.name.as_str(), open.address))
    }
}
