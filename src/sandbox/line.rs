//! Connections that can be cut, so that the client sees a real reset.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The handle that cuts one connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    cut: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Line {
    /// Resets the connection as soon as the server looks at it, which it is made to do at once.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let waker = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

/// The open connections of a server.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Vec<Weak<Line>>>);

impl Lines {
    fn add(&self, line: &Arc<Line>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
    }

    pub(super) fn cut(&self) {
        let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines.iter().filter_map(Weak::upgrade) {
            line.cut();
        }
    }
}

/// A listener that keeps track of its connections.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) lines: Arc<Lines>,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        let (stream, _) = Listener::accept(&mut self.listener).await;
        let line = Arc::new(Line::default());
        self.lines.add(&line);
        (Connection { stream, line }, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a handler knows of the connection its request came by.
#[derive(Clone, Debug)]
pub(super) struct Via(pub(super) Arc<Line>);

impl Connected<IncomingStream<'_, Door>> for Via {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(Arc::clone(&stream.io().line))
    }
}

/// A socket that fails once its line is cut, and then closes with a reset.
pub(super) struct Connection {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.line.check().is_err() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let waker = cx.waker().clone();
        *self.line.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
        self.line.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
