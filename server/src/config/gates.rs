//! Feature gates: switches that etcd's releases add and retire.

/// Name, default, and why there is nothing to switch: either value is fine.
const GATES: [(&str, bool, &str); 9] = [
    ("StopGRPCServiceOnDefrag", false, "defragmentation does not stop the service"),
    ("InitialCorruptCheck", false, "members are not compared with each other yet"),
    ("CompactHashCheck", false, "members are not compared with each other yet"),
    ("TxnModeWriteWithSharedBuffer", true, "transactions read through their own overlay"),
    ("LeaseCheckpoint", false, "what is left of leases is always noted"),
    ("LeaseCheckpointPersist", false, "what is left of leases is always kept"),
    ("SetMemberLocalAddr", false, "connections to other members take any local address"),
    ("FastLeaseKeepAlive", true, "keep-alives are always fast"),
    ("PriorityRequest", false, "requests that free space have room already"),
];

/// Reads `Name=bool,...`; adds what must be told to `notes`, and returns what is wrong.
pub(super) fn check(text: &str, notes: &mut Vec<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match check_one(part) {
            Ok(Some(note)) => notes.push(note),
            Ok(None) => {}
            Err(why) => wrong.push(why),
        }
    }
    wrong
}

fn check_one(part: &str) -> Result<Option<String>, String> {
    let Some((name, word)) = part.split_once('=') else {
        return Err(format!("{part:?} is not of the form Name=true"));
    };
    let on = match word.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => true,
        "false" | "0" | "f" => false,
        other => return Err(format!("{name}: must be true or false; got {other:?}")),
    };
    let name = name.trim();
    if name == "AllAlpha" || name == "AllBeta" {
        return if on { Err(format!("{name}: name the features one by one")) } else { Ok(None) };
    }
    let Some((_, default, why)) = GATES.iter().find(|(known, ..)| *known == name) else {
        return Err(format!("there is no feature gate {name:?}"));
    };
    if on == *default {
        return Ok(None);
    }
    Ok(Some(format!("feature gate {name}={on} has no effect: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_noted_or_refused() {
        for (text, notes, wrong) in [
            ("", 0, 0),
            ("FastLeaseKeepAlive=true", 0, 0),
            ("FastLeaseKeepAlive=false, InitialCorruptCheck=TRUE", 2, 0),
            ("LeaseCheckpoint=true", 1, 0),
            ("LeaseCheckpoint=false", 0, 0),
            ("AllAlpha=true", 0, 1),
            ("AllAlpha=false", 0, 0),
            ("NoSuch=true,PriorityRequest,PriorityRequest=maybe", 0, 3),
        ] {
            let mut told = Vec::new();
            let bad = check(text, &mut told);
            assert_eq!((told.len(), bad.len()), (notes, wrong), "{text}: {told:?} {bad:?}");
        }
    }
}
