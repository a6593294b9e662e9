//! A connection as the HTTP server sees it: it can be cut on request, and it ends gently.
//!
//! When the server refuses a request before its body has arrived, it closes. A socket that is closed while
//! bytes arrive resets, and the client may lose the answer with it; so the end is announced first, and what
//! still arrives is read for a while.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::disturb::Turn;

/// How much of an unwanted body is read before the connection is dropped. Ours.
const MAX_LINGERING: usize = 16 * 1024 * 1024;

/// How long that may take.
const LINGER: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    turn: Arc<Turn>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, turn: Arc<Turn>) -> Self {
        Self { stream, turn, lingering: None }
    }

    /// Refuses to send an answer that is to be lost. What asks for the body is no answer.
    fn check(&self, bytes: &[u8]) -> io::Result<()> {
        if self.turn.is_cut() && !bytes.starts_with(b"HTTP/1.1 100") {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(bytes)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.lingering = Some((Box::pin(tokio::time::sleep(LINGER)), 0));
        }
        let Some((sleep, read)) = &mut this.lingering else { return Poll::Ready(Ok(())) };
        let mut bytes = [0; 8 * 1024];
        while *read < MAX_LINGERING && sleep.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            *read += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}
