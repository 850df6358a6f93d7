//! The task that reads the stream of purges, in the first worker.

use std::io;
use std::rc::Rc;

use crate::proxy::Proxy;
use crate::purge_stream::{self, PurgeStreamReader};
use crate::server::Shutdown;
use crate::store::Store;
use crate::telemetry::Registry;

/// Reads the stream until the shutdown begins, if there is one and this is the first worker.
pub(super) async fn read_purge_stream(
    number: usize,
    options: Option<purge_stream::Options>,
    (store, proxy): (&Store, &Rc<Proxy>),
    shutdown: Shutdown,
    registry: &Registry,
) -> io::Result<()> {
    let Some(options) = options.filter(|_| number == 0) else { return Ok(()) };
    if let Some(reader) = PurgeStreamReader::new(options, store, Rc::clone(proxy), registry) {
        // The reader dominates the size of the future, and most processes have none.
        Box::pin(reader.run(async move { shutdown.begun().await })).await;
    }
    Ok(())
}
