//! Exact answers, with a member made of constants.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CONTENT_TYPE, HeaderName,
};
use http::{HeaderMap, Method};
use proptest::prelude::*;

use crate::config::AllowList;
use crate::observe::metrics::Metrics;

use super::*;

/// A member whose answers are set by the test.
#[derive(Debug, Clone)]
struct Fake {
    has_leader: bool,
    is_learner: bool,
    alarms: Vec<Alarm>,
    versions: Versions,
    serializable: Result<(), String>,
    linearizable: Result<(), String>,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            has_leader: true,
            is_learner: false,
            alarms: vec![],
            versions: Versions {
                server: "3.7.1".into(),
                cluster: Some("3.7.0".into()),
                storage: Some("3.7.0".into()),
            },
            serializable: Ok(()),
            linearizable: Ok(()),
        }
    }
}

impl Probe for Fake {
    fn has_leader(&self) -> bool {
        self.has_leader
    }

    fn is_learner(&self) -> bool {
        self.is_learner
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.alarms.clone()
    }

    fn versions(&self) -> Versions {
        self.versions.clone()
    }

    fn raft_status(&self) -> RaftStatus {
        RaftStatus {
            id: 0x8e9e_05c5_2164_694d,
            term: 2,
            vote: 0x8e9e_05c5_2164_694d,
            commit: 9,
            applied: 8,
            leader: 0x8e9e_05c5_2164_694d,
            role: RaftRole::Leader,
            progress: vec![PeerProgress { member_id: 0xab, matched: 9, next: 10 }],
        }
    }

    fn read_check(&self, consistency: Consistency) -> ProbeFuture<'_, Result<(), String>> {
        let result = match consistency {
            Consistency::Serializable => self.serializable.clone(),
            Consistency::Linearizable => self.linearizable.clone(),
        };
        Box::pin(async move { result })
    }
}

fn state(fake: Fake) -> HttpState {
    HttpState {
        probe: Arc::new(fake),
        metrics: Arc::new(Metrics::new(false)),
        cors: AllowList::Any,
        hosts: AllowList::Any,
        command_line: vec!["keelson".into(), "--name=a".into()],
    }
}

/// The fake never waits, so one poll ends every request.
fn ask(state: &HttpState, method: &Method, target: &str, headers: &HeaderMap) -> Response {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let request = Request { method, path, query, headers, authority: None };
    let future = pin!(handle(state, request));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => panic!("{target} waits"),
    }
}

fn get(state: &HttpState, target: &str) -> (u16, String) {
    let response = ask(state, &Method::GET, target, &HeaderMap::new());
    (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
}

fn header(response: &Response, name: HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

const HEALTHY: &str = "{\"health\":\"true\",\"reason\":\"\"}";

#[test]
fn health_says_what_is_wrong_first() {
    let refused = || Err("etcdserver: request timed out".to_owned());
    let broken = Fake {
        has_leader: false,
        alarms: vec![Alarm::NoSpace, Alarm::Corrupt],
        linearizable: refused(),
        ..Fake::default()
    };
    let no_leader = Fake { has_leader: false, linearizable: refused(), ..Fake::default() };
    let no_read = Fake { linearizable: refused(), ..Fake::default() };
    let quoted = Fake { linearizable: Err("a \"b\"".into()), ..Fake::default() };
    let unknown = Fake { alarms: vec![Alarm::Unknown], ..Fake::default() };
    let no_local = Fake { serializable: refused(), ..Fake::default() };
    for (fake, target, reason) in [
        (Fake::default(), "/health", ""),
        (broken.clone(), "/health", "ALARM NOSPACE"),
        (broken.clone(), "/health?exclude=NOSPACE", "ALARM CORRUPT"),
        (broken.clone(), "/health?exclude=NOSPACE&exclude=CORRUPT", "RAFT NO LEADER"),
        (broken.clone(), "/health?serializable=true", "ALARM NOSPACE"),
        (broken, "/health?exclude=NOSPACE&exclude=CORRUPT&serializable=true", ""),
        (unknown, "/health", "ALARM UNKNOWN"),
        (no_leader.clone(), "/health", "RAFT NO LEADER"),
        (no_leader.clone(), "/health?serializable=false", "RAFT NO LEADER"),
        (no_leader, "/health?serializable=true", ""),
        (no_read, "/health", "RANGE ERROR:etcdserver: request timed out"),
        (no_local, "/health?serializable=true", "RANGE ERROR:etcdserver: request timed out"),
        (quoted, "/health", "RANGE ERROR:a \\\"b\\\""),
    ] {
        let state = state(fake);
        let wanted = match reason {
            "" => (200, HEALTHY.to_owned()),
            why => (503, format!("{{\"health\":\"false\",\"reason\":\"{why}\"}}\n")),
        };
        assert_eq!(get(&state, target), wanted, "{target}");
        let server = &state.metrics.server;
        let counted = (server.health_success.get(), server.health_failures.get());
        assert_eq!(counted, if reason.is_empty() { (1, 0) } else { (0, 1) }, "{target}");
        let response = ask(&state, &Method::GET, target, &HeaderMap::new());
        assert_eq!(header(&response, CONTENT_TYPE), "text/plain; charset=utf-8");
    }
}

#[test]
fn livez_and_readyz_run_their_checks() {
    let broken = Fake {
        is_learner: true,
        alarms: vec![Alarm::Corrupt],
        linearizable: Err("no leader".into()),
        ..Fake::default()
    };
    let full = Fake { alarms: vec![Alarm::NoSpace], ..Fake::default() };
    let stuck = Fake { serializable: Err("x".into()), ..Fake::default() };
    let good = Fake::default;
    for (fake, target, status, body) in [
        (good(), "/livez", 200, "ok\n"),
        (good(), "/livez?verbose", 200, "[+]serializable_read ok\nok\n"),
        (good(), "/livez?verbose=true&exclude=serializable_read", 200, "ok\n"),
        (good(), "/livez/serializable_read", 200, "ok\n"),
        (good(), "/livez/linearizable_read", 404, "404 page not found\n"),
        (good(), "/livez/", 404, "404 page not found\n"),
        (stuck.clone(), "/livez", 503, "[-]serializable_read failed: range error: x\n\n"),
        (stuck, "/livez?exclude=serializable_read", 200, "ok\n"),
        (full, "/readyz", 200, "ok\n"),
        (good(), "/readyz", 200, "ok\n"),
        (
            good(),
            "/readyz?verbose",
            200,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
             [+]non_learner ok\nok\n",
        ),
        (
            broken.clone(),
            "/readyz",
            503,
            "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n\
             [-]linearizable_read failed: range error: no leader\n\
             [-]non_learner failed: not supported for learner\n\n",
        ),
        (
            broken.clone(),
            "/readyz?exclude=data_corruption&exclude=linearizable_read&exclude=other",
            503,
            "[+]serializable_read ok\n[-]non_learner failed: not supported for learner\n\n",
        ),
        (broken.clone(), "/readyz?allowlist=serializable_read", 200, "ok\n"),
        (broken.clone(), "/readyz?allowlist=other", 503, "[-]other failed: no such check\n\n"),
        (
            broken.clone(),
            "/readyz/data_corruption?verbose",
            503,
            "[-]data_corruption failed: alarm activated: CORRUPT\n\n",
        ),
        (broken, "/readyz/serializable_read?verbose", 200, "[+]serializable_read ok\nok\n"),
        (good(), "/readyz/other", 404, "404 page not found\n"),
    ] {
        assert_eq!(get(&state(fake), target), (status, body.to_owned()), "{target}");
    }
}

#[test]
fn checks_are_counted() {
    let state = state(Fake { is_learner: true, ..Fake::default() });
    get(&state, "/readyz");
    let text = state.metrics.render();
    for sample in [
        "etcd_server_healthcheck{name=\"non_learner\",type=\"readyz\"} 0",
        "etcd_server_healthcheck{name=\"serializable_read\",type=\"readyz\"} 1",
        "etcd_server_healthchecks_total{name=\"non_learner\",status=\"error\",type=\"readyz\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} is missing");
    }
}

#[test]
fn version_has_etcds_keys_and_words() {
    let young = Versions { server: "3.7.1".into(), cluster: None, storage: None };
    for (versions, body) in [
        (
            Fake::default().versions,
            "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}",
        ),
        (
            young,
            "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"not_decided\",\"storage\":\"unknown\"}",
        ),
    ] {
        let state = state(Fake { versions, ..Fake::default() });
        assert_eq!(get(&state, "/version"), (200, body.to_owned()));
        let response = ask(&state, &Method::GET, "/version", &HeaderMap::new());
        assert_eq!(header(&response, CONTENT_TYPE), "application/json");
    }
}

#[test]
fn metrics_are_prometheus_text() {
    let state = state(Fake::default());
    state.metrics.mvcc.put.inc_by(5);
    let response = ask(&state, &Method::GET, "/metrics", &HeaderMap::new());
    assert_eq!(header(&response, CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
    let text = std::str::from_utf8(response.body()).unwrap();
    assert!(text.contains("# TYPE etcd_mvcc_put_total counter\netcd_mvcc_put_total 5\n"));
    let head = ask(&state, &Method::HEAD, "/metrics", &HeaderMap::new());
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
}

#[test]
fn debug_vars_show_the_command_line_and_raft() {
    let (status, body) = get(&state(Fake::default()), "/debug/vars");
    assert_eq!(status, 200);
    let vars: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(vars["cmdline"], serde_json::json!(["keelson", "--name=a"]));
    assert!(vars["file_descriptor_limit"].as_i64().unwrap() > 0);
    assert_eq!(
        vars["raft.status"],
        serde_json::json!({
            "id": "8e9e05c52164694d", "term": 2, "vote": "8e9e05c52164694d", "commit": 9,
            "lead": "8e9e05c52164694d", "raftState": "StateLeader", "applied": 8,
            "progress": {"ab": {"match": 9, "next": 10, "state": "StateReplicate"}},
            "leadtransferee": "0",
        })
    );
}

#[test]
fn other_methods_and_paths_are_refused() {
    let state = state(Fake::default());
    for (method, path, status, allow, body) in [
        (Method::POST, "/health", 405, "GET", "Method Not Allowed\n"),
        (Method::HEAD, "/health", 405, "GET", ""),
        (Method::PUT, "/version", 405, "GET", "Method Not Allowed\n"),
        (Method::DELETE, "/livez", 405, "GET", "Method Not Allowed\n"),
        (Method::POST, "/readyz/non_learner", 405, "GET", "Method Not Allowed\n"),
        (Method::POST, "/metrics", 405, "GET, HEAD", "Method Not Allowed\n"),
        (Method::GET, "/", 404, "", "404 page not found\n"),
        (Method::GET, "/nope", 404, "", "404 page not found\n"),
        (Method::GET, "/healthy", 404, "", "404 page not found\n"),
        (Method::POST, "/v3/kv/range", 404, "", "{\"code\":5,\"message\":\"Not Found\"}"),
        (Method::GET, "/v3/", 404, "", "{\"code\":5,\"message\":\"Not Found\"}"),
        (Method::POST, "/v3beta/kv/put", 404, "", "{\"code\":5,\"message\":\"Not Found\"}"),
        (Method::GET, "/v2/keys", 404, "", "404 page not found\n"),
        (Method::OPTIONS, "/health", 200, "", ""),
        (Method::OPTIONS, "/nope", 200, "", ""),
    ] {
        let response = ask(&state, &method, path, &HeaderMap::new());
        let got = std::str::from_utf8(response.body()).unwrap();
        let shown = (response.status().as_u16(), header(&response, ALLOW), got);
        assert_eq!(shown, (status, allow, body), "{method} {path}");
    }
}

#[test]
fn pages_of_allowed_origins_may_read_answers() {
    let only = AllowList::Only(vec!["http://a.example".into()]);
    for (cors, origin, wanted) in [
        (AllowList::Any, None, "*"),
        (AllowList::Any, Some("http://b.example"), "*"),
        (only.clone(), Some("http://a.example"), "http://a.example"),
        (only.clone(), Some("http://b.example"), ""),
        (only, None, ""),
    ] {
        let state = HttpState { cors, ..state(Fake::default()) };
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        for (method, path) in
            [(Method::GET, "/version"), (Method::OPTIONS, "/v3/kv/range"), (Method::GET, "/nope")]
        {
            let response = ask(&state, &method, path, &headers);
            assert_eq!(header(&response, ACCESS_CONTROL_ALLOW_ORIGIN), wanted, "{method} {path}");
            let (methods, names) = if wanted.is_empty() {
                ("", "")
            } else {
                ("POST, GET, OPTIONS, PUT, DELETE", "accept, content-type, authorization")
            };
            assert_eq!(header(&response, ACCESS_CONTROL_ALLOW_METHODS), methods);
            assert_eq!(header(&response, ACCESS_CONTROL_ALLOW_HEADERS), names);
        }
    }
}

#[test]
fn hosts_off_the_list_are_misdirected() {
    let hosts = AllowList::Only(vec!["etcd.example".into(), "127.0.0.1".into(), "::1".into()]);
    let state = HttpState { hosts, ..state(Fake::default()) };
    for (host, status) in [
        (Some("etcd.example"), 200),
        (Some("ETCD.example:2379"), 200),
        (Some("127.0.0.1:2379"), 200),
        (Some("[::1]:2379"), 200),
        (Some("::1"), 200),
        (Some("evil.example"), 421),
        (Some("etcd.example.evil.example:2379"), 421),
        (Some("etcd.example@evil.example"), 421),
        (None, 421),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert("host", host.parse().unwrap());
        }
        for method in [Method::GET, Method::OPTIONS] {
            let response = ask(&state, &method, "/version", &headers);
            assert_eq!(response.status().as_u16(), status, "{method} {host:?}");
        }
    }
}

#[test]
fn requests_of_hyper_are_taken_apart() {
    let request = http::Request::get("http://evil.example:1/health?a=b").body(()).unwrap();
    let (parts, ()) = request.into_parts();
    let request = Request::of(&parts);
    assert_eq!(
        (request.path, request.query, request.host()),
        ("/health", Some("a=b"), "evil.example")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_path_gets_an_answer(path in "/(livez|readyz|v3|health)?(/|%|\\PC){0,8}", query in any::<Option<String>>(), host in any::<Vec<u8>>()) {
        let hosts = AllowList::Only(vec!["a".into()]);
        let state = HttpState { hosts, ..state(Fake::default()) };
        let mut headers = HeaderMap::new();
        if let Ok(host) = http::HeaderValue::from_bytes(&host) {
            headers.insert("host", host);
        }
        let target = format!("{path}?{}", query.unwrap_or_default());
        let status = ask(&state, &Method::GET, &target, &headers).status().as_u16();
        prop_assert!([200, 404, 421].contains(&status));
        headers.insert("host", "a".parse().unwrap());
        let status = ask(&state, &Method::GET, &target, &headers).status().as_u16();
        prop_assert!([200, 404, 503].contains(&status));
    }
}
