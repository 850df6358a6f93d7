//! The tags and groups of a response.

use std::collections::BTreeSet;
use std::time::Duration;

use cachewarp::limits::{GROUP_BYTES_MAX, GROUPS_MAX, TAG_BYTES_MAX, TAGS_MAX};
use cachewarp::policy::{self, CacheRules, GroupNames};
use http::header::HeaderName;

use super::heads::{head, lines, rules};

/// Uses each line as a field of tags, and as one of groups. Checks that all tags are kept or none,
/// each once, and that groups are within bounds.
pub(crate) fn tags(data: &[u8]) {
    let rules =
        CacheRules { tag_headers: vec![HeaderName::from_static("cache-tag")], ..rules(Duration::ZERO) };
    let response = head(lines(data).map(|line| ("cache-tag", line)));
    let values: Vec<_> = response.get_all("cache-tag").iter().filter_map(|line| line.to_str().ok()).collect();
    let expected: BTreeSet<_> =
        values.iter().flat_map(|line| line.split([',', ' ', '\t'])).filter(|tag| !tag.is_empty()).collect();
    match policy::tags(&response, &rules) {
        Ok(tags) => {
            assert_eq!(tags.len(), expected.len(), "a tag occurs twice");
            assert_eq!(tags.into_iter().collect::<BTreeSet<_>>(), expected, "the tags differ");
        }
        Err(_) => {
            let fits = values.len() == response.len()
                && expected.len() <= TAGS_MAX - GROUPS_MAX
                && expected.iter().all(|tag| tag.len() <= TAG_BYTES_MAX);
            assert!(!fits || expected.len() == TAGS_MAX - GROUPS_MAX, "tags within the bounds are refused");
        }
    }
    let response = head(lines(data).map(|line| ("cache-groups", line)));
    let groups = GroupNames::of(&response);
    let names: BTreeSet<_> = groups.names().iter().collect();
    assert!(names.len() == groups.names().len() && names.len() <= GROUPS_MAX);
    assert!(names.iter().all(|name| name.len() <= GROUP_BYTES_MAX));
}
