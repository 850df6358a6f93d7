//! The names that a response may be purged by.

use std::collections::BTreeSet;
use std::time::Duration;

use cachewarp::limits::{GROUP_BYTES_MAX, GROUPS_MAX, TAG_BYTES_MAX, TAGS_MAX};
use cachewarp::policy::{self, Groups, Rules};
use http::header::HeaderName;

use super::heads::{head, lines, rules};

/// Each line is a field with tags, and one with groups: all tags are followed or none, each once, and groups within bounds.
pub(crate) fn tags(data: &[u8]) {
    let rules = Rules { tag_headers: vec![HeaderName::from_static("cache-tag")], ..rules(Duration::ZERO) };
    let response = head(lines(data).map(|line| ("cache-tag", line)));
    let said: Vec<_> = response.get_all("cache-tag").iter().filter_map(|line| line.to_str().ok()).collect();
    let expected: BTreeSet<_> =
        said.iter().flat_map(|line| line.split([',', ' ', '\t'])).filter(|tag| !tag.is_empty()).collect();
    match policy::tags(&response, &rules) {
        Ok(tags) => {
            assert_eq!(tags.len(), expected.len(), "each once");
            assert_eq!(tags.into_iter().collect::<BTreeSet<_>>(), expected, "all of them");
        }
        Err(_) => {
            let fits = said.len() == response.len()
                && expected.len() <= TAGS_MAX - GROUPS_MAX
                && expected.iter().all(|tag| tag.len() <= TAG_BYTES_MAX);
            assert!(!fits || expected.len() == TAGS_MAX - GROUPS_MAX, "what fits is followed");
        }
    }
    let response = head(lines(data).map(|line| ("cache-groups", line)));
    let groups = Groups::of(&response);
    let names: BTreeSet<_> = groups.names().iter().collect();
    assert!(names.len() == groups.names().len() && names.len() <= GROUPS_MAX);
    assert!(names.iter().all(|name| name.len() <= GROUP_BYTES_MAX));
}
