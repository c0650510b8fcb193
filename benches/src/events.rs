//! Level-triggered epoll with nanosecond time-outs, and nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// An epoll instance whose events carry a number.
pub struct Events {
    epoll: OwnedFd,
    buffer: Vec<Event>,
}

impl Events {
    pub fn new() -> anyhow::Result<Events> {
        Ok(Events { epoll: epoll::create(CreateFlags::CLOEXEC)?, buffer: Vec::with_capacity(512) })
    }

    /// Reports `socket` as `key` when it is readable.
    pub fn add(&self, socket: impl AsFd, key: u64) -> anyhow::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(key), EventFlags::IN)?)
    }

    /// Reports it when it is writable too, or no more.
    pub fn watch_writes(&self, socket: impl AsFd, key: u64, writes: bool) -> anyhow::Result<()> {
        let flags = if writes { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(key), flags)?)
    }

    pub fn remove(&self, socket: impl AsFd) -> anyhow::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// The keys that are ready, written into `keys`. `None` waits as long as it takes.
    pub fn wait(&mut self, timeout: Option<Duration>, keys: &mut Vec<u64>) -> anyhow::Result<()> {
        let timeout = timeout
            .map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) });
        keys.clear();
        self.buffer.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.buffer);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) => keys.extend(self.buffer.iter().map(|event| event.data.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
