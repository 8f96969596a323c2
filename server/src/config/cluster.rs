//! The list of members that a new cluster starts with.

use super::url::Url;

/// Whether this start founds a cluster or joins one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// The members of the initial cluster found it together.
    New,
    /// The cluster runs already; a member whose data folder is empty joins it.
    Existing,
}

/// One member of `--initial-cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMember {
    /// The member's `--name`.
    pub name: String,
    /// Its peer URLs, in the order given, at least one.
    pub peer_urls: Vec<Url>,
}

/// Reads `name=url,name=url`; a name may repeat to give a member several URLs.
pub(super) fn parse(text: &str) -> Result<Vec<ClusterMember>, String> {
    let mut members: Vec<ClusterMember> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, url)) = part.split_once('=') else {
            return Err(format!("{part:?} is not of the form name=url"));
        };
        if name.is_empty() {
            return Err(format!("{part:?} names no member"));
        }
        let url = Url::parse(url)?;
        match members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.peer_urls.push(url),
            None => {
                members.push(ClusterMember { name: name.to_owned(), peer_urls: vec![url] });
            }
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_urls_by_name() {
        let members = parse("a=http://x:1,b=http://y:2, a=http://z:3,").unwrap();
        let shown: Vec<_> = members
            .iter()
            .map(|m| (m.name.as_str(), m.peer_urls.iter().map(Url::to_string).collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            shown,
            [
                ("a", vec!["http://x:1".to_owned(), "http://z:3".to_owned()]),
                ("b", vec!["http://y:2".to_owned()])
            ]
        );
    }

    #[test]
    fn refuses_parts_without_name_or_url() {
        for text in ["a", "=http://x:1", "a=", "a=x:1", "a=http://x:1,b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
