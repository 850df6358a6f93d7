//! The file of a unix socket that clients or operators connect to.
//!
//! A file that a dead process left is replaced; one that a process listens on is an error, unless
//! `listen_reuse_port` allows a successor. The socket gets its permissions under another name and
//! then its place by a rename, so that no client finds it with other permissions, and none finds
//! no socket while one replaces another. The last worker to close the socket removes the file,
//! unless a successor has replaced it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::options::{AddressSharing, Options, SocketOptions};

/// The file of a listening socket. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // A failure leaves a file that the next start replaces.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Listens on a unix socket.
pub(super) fn listen(socket: &SocketOptions, options: &Options) -> io::Result<(UnixListener, SocketFile)> {
    let path = &socket.path;
    check_free(path, options.sharing)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    // A process with the number of this one may have died here.
    drop(fs::remove_file(&beside));
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    listener.bind(&SockAddr::unix(&beside)?)?;
    let placed = place(&listener, &beside, socket, options.backlog);
    match placed {
        Ok(file) => Ok((listener.into(), file)),
        Err(error) => {
            drop(fs::remove_file(&beside));
            Err(error)
        }
    }
}

fn place(listener: &Socket, beside: &Path, socket: &SocketOptions, backlog: u32) -> io::Result<SocketFile> {
    fs::set_permissions(beside, Permissions::from_mode(socket.mode))?;
    listener.set_nonblocking(true)?;
    listener.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let identity = identity(beside)?;
    fs::rename(beside, &socket.path)?;
    Ok(SocketFile { path: socket.path.clone(), identity })
}

/// Checks that the path is free, or has a socket that may be replaced.
fn check_free(path: &Path, sharing: AddressSharing) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is no socket"));
    }
    match sharing {
        AddressSharing::Alone if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        AddressSharing::Alone | AddressSharing::Handover => Ok(()),
    }
}
