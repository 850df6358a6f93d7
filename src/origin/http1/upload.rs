//! The writing of a request: its head, and its body as far as that has arrived.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body as _;
use tokio::io::AsyncWrite as _;

use super::request::{Outgoing, UploadFailure};
use super::stream::Http1Stream;

impl Http1Stream {
    /// Writes the request as far as its body has arrived and the socket takes it.
    pub(in crate::origin) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadFailure>> {
        loop {
            let Some(upload) = &mut self.upload else {
                return self.poll_written(cx).map_err(|_| self.fail_upload(UploadFailure::Written));
            };
            // The head and a body that has arrived leave in one write.
            if self.outgoing.can_take() {
                match Pin::new(&mut *upload).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            self.outgoing.put_data(data, self.framing);
                        }
                        if upload.is_end_stream() {
                            self.end_upload();
                        }
                        continue;
                    }
                    Poll::Ready(Some(Err(_))) => {
                        return Poll::Ready(Err(self.fail_upload(UploadFailure::Client)));
                    }
                    Poll::Ready(None) => {
                        self.end_upload();
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            if self.outgoing.is_empty() && !self.is_unflushed {
                return Poll::Pending;
            }
            if ready!(self.poll_written(cx)).is_err() {
                return Poll::Ready(Err(self.fail_upload(UploadFailure::Written)));
            }
        }
    }

    fn end_upload(&mut self) {
        self.upload = None;
        self.outgoing.put_end(self.framing);
    }

    /// Ends the writing of the request. The rest of the body is dropped.
    fn fail_upload(&mut self, failure: UploadFailure) -> UploadFailure {
        (self.upload, self.outgoing) = (None, Outgoing::default());
        (self.is_unflushed, self.keeps_alive) = (false, false);
        if failure == UploadFailure::Client {
            self.is_broken = true;
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        failure
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let Outgoing { copied, piece, end } = &self.outgoing;
            let socket = Pin::new(&mut self.socket);
            let written = if piece.is_empty() && end.is_empty() {
                ready!(socket.poll_write(cx, copied))?
            } else {
                let slices = [IoSlice::new(copied), IoSlice::new(piece), IoSlice::new(end)];
                ready!(socket.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
