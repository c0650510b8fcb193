//! The floor: bytes from one socket to another and back, nothing read, one service connection per client.
//! Usage: relay PORT SERVICE_PORT

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use narthex_benches::{argument, listen};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

fn main() -> anyhow::Result<()> {
    let (port, service): (u16, u16) = (argument(1, "a port")?, argument(2, "the service's port")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::from_std(listen(port)?)?;
        loop {
            let Ok((client, _)) = listener.accept().await else { continue };
            tokio::task::spawn_local(relay(client, service));
        }
    })
}

/// Ends with the first side that ends: a bench closes both.
async fn relay(mut client: TcpStream, service: u16) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut service = TcpStream::connect((Ipv4Addr::LOCALHOST, service)).await?;
    service.set_nodelay(true)?;
    let (mut there, mut back) = (Direction::new(), Direction::new());
    poll_fn(|cx| {
        if there.pump(&mut client, &mut service, cx).is_ready() {
            return Poll::Ready(());
        }
        back.pump(&mut service, &mut client, cx)
    })
    .await;
    Ok(())
}

struct Direction {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Direction {
    fn new() -> Direction {
        Direction { buffer: vec![0; 32_768].into(), start: 0, end: 0 }
    }

    /// Ready when this direction is over.
    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while self.start < self.end {
                match Pin::new(&mut *to).poll_write(cx, &self.buffer[self.start..self.end]) {
                    Poll::Ready(Ok(written)) => self.start += written,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            (self.start, self.end) = (0, 0);
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.end = buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
