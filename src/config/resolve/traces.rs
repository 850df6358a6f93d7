//! The settings of traces.

use crate::config::resolve::resolver::Resolver;
use crate::config::resolve::values;
use crate::config::table::Name;
use crate::config::urls;
use crate::telemetry::trace::TraceOptions;

impl Resolver<'_> {
    /// Resolves the options of traces.
    pub(in crate::config) fn traces(&mut self) -> Option<TraceOptions> {
        Some(TraceOptions {
            endpoint: self.take(Name::OtlpEndpoint, urls::collector)?,
            sample: self.take(Name::TraceSample, |text| values::percent(text, 0..=100))?,
        })
    }
}
