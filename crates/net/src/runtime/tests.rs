//! The runtime as tasks and sockets see it: over real ones, with small times; no order of events that the kernel does not
//! promise.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::clock::monotonic;

const MS: u64 = 1_000_000;

async fn append(socket: &Socket, buffer: &mut Vec<u8>, limit: usize) -> std::io::Result<usize> {
    poll_fn(|cx| socket.poll_append(cx, buffer, limit)).await
}

async fn write_all(socket: &Socket, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let half = bytes.len() / 2;
        let count = poll_fn(|cx| socket.poll_write_two(cx, &bytes[..half], &bytes[half..])).await.unwrap();
        bytes = &bytes[count..];
    }
}

fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn tasks_run_in_turn_and_end_with_the_main_one() {
    let dropped = run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let dropped = Rc::new(Cell::new(false));
        struct Note(Rc<Cell<bool>>);
        impl Drop for Note {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let note = Note(Rc::clone(&dropped));
        spawn(async move {
            let _note = note;
            std::future::pending::<()>().await;
        });
        for name in ["a", "b"] {
            let order = Rc::clone(&order);
            spawn(async move {
                order.borrow_mut().push(name);
                sleep(Duration::ZERO).await;
                order.borrow_mut().push(name);
            });
        }
        sleep(Duration::from_millis(5)).await;
        assert_eq!(*order.borrow(), ["a", "b", "a", "b"]);
        assert!(!dropped.get());
        dropped
    })
    .unwrap();
    assert!(dropped.get(), "what still waits is dropped");
}

#[test]
fn a_panic_ends_one_task() {
    let reached = run(async {
        spawn(async { panic!("of one task (this is part of the test)") });
        sleep(Duration::from_millis(1)).await;
        true
    });
    assert!(reached.unwrap());
}

#[test]
fn another_thread_wakes_a_task() {
    let got = run(async {
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // By then this thread is most likely asleep in the kernel; awake, it must notice all the same.
            std::thread::park_timeout(Duration::from_millis(10));
            send.send(7).unwrap();
        });
        receive.await.unwrap()
    });
    assert_eq!(got.unwrap(), 7);
}

#[test]
fn many_threads_wake_many_tasks_and_no_wake_is_lost() {
    let total = run(async {
        let (send, mut receive) = tokio::sync::mpsc::channel::<u64>(4);
        for _ in 0..4 {
            let send = send.clone();
            std::thread::spawn(move || (1..=500).for_each(|number| send.blocking_send(number).unwrap()));
        }
        drop(send);
        let mut total = 0;
        while let Some(number) = receive.recv().await {
            total += number;
        }
        total
    });
    assert_eq!(total.unwrap(), 4 * 500 * 501 / 2);
}

#[test]
fn timers_fire_in_order_and_never_early() {
    run(async {
        let begun = monotonic();
        let fired = Rc::new(RefCell::new(Vec::new()));
        for wait in [30, 10, 20] {
            let fired = Rc::clone(&fired);
            spawn(async move {
                sleep(Duration::from_millis(wait)).await;
                assert!(monotonic() - begun >= wait * MS);
                fired.borrow_mut().push(wait);
            });
        }
        sleep(Duration::from_millis(60)).await;
        assert_eq!(*fired.borrow(), [10, 20, 30]);
    })
    .unwrap();
}

#[test]
fn a_timer_that_is_set_again_or_dropped_does_not_fire() {
    run(async {
        let mut timer = Timer::default();
        let polls = Cell::new(0);
        let begun = monotonic();
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            if polls.get() == 1 {
                timer.set(cx, begun + 5 * MS);
                timer.set(cx, begun + 30 * MS);
                let mut other = Timer::default();
                other.set(cx, begun + 10 * MS);
            }
            if timer.has_fired() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert_eq!(polls.get(), 2, "woken once");
        assert!(monotonic() - begun >= 30 * MS);
    })
    .unwrap();
}

#[test]
fn sockets_carry_more_than_the_kernel_holds_and_end() {
    let (listener, address) = listening();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = vec![0; 3_000_000];
        stream.read_exact(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    run(async move {
        let sent: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        let socket = Socket::connect(address).await.unwrap();
        write_all(&socket, &sent).await;
        let mut got = Vec::new();
        while append(&socket, &mut got, 10_000).await.unwrap() > 0 {}
        assert!(got == sent);
        assert_eq!(append(&socket, &mut got, 10).await.unwrap(), 0, "the end stays");
    })
    .unwrap();
    peer.join().unwrap();
}

/// The end comes together with the last bytes: no further event announces it.
#[test]
fn an_end_behind_a_short_read_is_seen() {
    let (listener, address) = listening();
    run(async move {
        let socket = Socket::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"last").unwrap();
        drop(stream);
        sleep(Duration::from_millis(20)).await;
        let mut got = Vec::new();
        assert_eq!(append(&socket, &mut got, 100).await.unwrap(), 4);
        assert_eq!(append(&socket, &mut got, 100).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn a_socket_is_readable_only_while_something_is_there() {
    let (listener, address) = listening();
    run(async move {
        let socket = Socket::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        assert!(!socket.is_readable());
        stream.write_all(b"1234").unwrap();
        poll_fn(|cx| socket.poll_readable(cx)).await;
        assert!(socket.is_readable());
        let mut got = Vec::new();
        // As much as was asked for: more might be there, and is not.
        assert_eq!(append(&socket, &mut got, 4).await.unwrap(), 4);
        assert!(!socket.is_readable());
        stream.write_all(b"5").unwrap();
        assert_eq!(append(&socket, &mut got, 4).await.unwrap(), 1);
        drop(stream);
        poll_fn(|cx| socket.poll_readable(cx)).await;
        assert!(socket.is_readable(), "the end is something");
    })
    .unwrap();
}

#[test]
fn a_refused_connection_says_so() {
    let (listener, address) = listening();
    drop(listener);
    let error = run(async move { Socket::connect(address).await.map(drop) }).unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn accepts_what_was_queued_before_it_was_watched() {
    let (listener, address) = listening();
    listener.set_nonblocking(true).unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    run(async move {
        let accepting = Accepting::adopt(listener.into()).unwrap();
        for client in &mut clients {
            let (fd, peer) = poll_fn(|cx| accepting.poll_accept(cx)).await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap().into());
            let socket = Socket::adopt(fd).unwrap();
            write_all(&socket, b"hi").await;
            let mut got = [0; 2];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"hi");
        }
        assert!(accepting.accept().unwrap().is_none());
    })
    .unwrap();
}

#[test]
fn one_runtime_follows_another_on_a_thread() {
    assert_eq!(run(async { 1 }).unwrap(), 1);
    assert_eq!(run(async { 2 }).unwrap(), 2);
}
