//! Cells as tables and as JSON.

use serde_json::{Value, json};

use super::sample::{Cell, METRICS};
use crate::cluster::Target;
use crate::ratio::{Spread, short, table};

/// The server that the others are compared with: etcd, or else the first one.
fn baseline(names: &[String]) -> usize {
    names.iter().position(|n| n == "etcd").unwrap_or(0)
}

/// The table of a cell: medians, then ratios with their spread.
pub(super) fn text(cell: &Cell, names: &[String]) -> String {
    let base = baseline(names);
    let mut head = vec![format!("{}, {} clients", cell.kind.name(), cell.clients)];
    head.extend(names.iter().cloned());
    for (i, name) in names.iter().enumerate() {
        if i != base {
            head.push(format!("{name}/{}", names[base]));
            head.push("(min .. max)".to_owned());
        }
    }
    let mut rows = vec![head];
    for metric in &METRICS {
        let series: Vec<_> = (0..names.len()).map(|i| cell.series(i, metric)).collect();
        let mut row = vec![format!("  {}", metric.name)];
        row.extend(series.iter().map(|s| {
            Spread::of(s.iter().copied()).map_or_else(|| "-".to_owned(), |s| short(s.median))
        }));
        for (i, ours) in series.iter().enumerate() {
            if i != base {
                row.extend(ratio(Spread::of_ratios(ours, &series[base])));
            }
        }
        rows.push(row);
    }
    let mut errors = vec!["  errors".to_owned()];
    errors.extend((0..names.len()).map(|i| cell.errors(i).to_string()));
    rows.push(errors);
    table(&rows) + "\n"
}

fn ratio(spread: Option<Spread>) -> [String; 2] {
    match spread {
        None => ["-".to_owned(), String::new()],
        Some(Spread { median, min, max }) => {
            [format!("{median:.2}"), format!("({min:.2} .. {max:.2})")]
        }
    }
}

/// Everything, with the samples of each round.
pub(super) fn json(cells: &[Cell], names: &[String], nodes: usize, target: Target) -> Value {
    let cells: Vec<Value> = cells.iter().map(|cell| cell_json(cell, names)).collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cpus": cpus, "nodes": nodes, "target": target, "servers": names, "baseline": names[baseline(names)], "cells": cells })
}

fn cell_json(cell: &Cell, names: &[String]) -> Value {
    let base = baseline(names);
    let mut ratios = serde_json::Map::new();
    for (i, name) in names.iter().enumerate().filter(|(i, _)| *i != base) {
        let by_metric: serde_json::Map<String, Value> = METRICS
            .iter()
            .map(|m| {
                let spread = Spread::of_ratios(&cell.series(i, m), &cell.series(base, m));
                (m.name.to_owned(), json!(spread))
            })
            .collect();
        ratios.insert(name.clone(), Value::Object(by_metric));
    }
    json!({
        "workload": cell.kind.name(), "clients": cell.clients,
        "ratios": ratios, "rounds": cell.rounds,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::report::Report;
    use crate::workload::Kind;

    fn sample(throughput: f64, server_cpu_us: f64) -> Sample {
        let report = Report { throughput, errors: 1, ..Report::default() };
        Sample { report, server_cpu_us, ..Sample::default() }
    }

    fn cell() -> (Cell, Vec<String>) {
        let mut cell = Cell::new(Kind::Put, 64);
        for (ours, theirs) in [(30.0, 10.0), (80.0, 20.0), (50.0, 10.0)] {
            cell.rounds.push(vec![sample(ours, 10.0), sample(theirs, 40.0)]);
        }
        (cell, vec!["keelson".to_owned(), "etcd".to_owned()])
    }

    #[test]
    fn a_table_has_medians_ratios_and_errors() {
        let (cell, names) = cell();
        let text = text(&cell, &names);
        let squeezed: Vec<_> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(squeezed[0], "put, 64 clients keelson etcd keelson/etcd (min .. max)");
        assert_eq!(squeezed[1], "requests/s 50.0 10.0 4.00 (3.00 .. 5.00)");
        assert_eq!(squeezed[5], "server CPU us/op 10.0 40.0 0.25 (0.25 .. 0.25)");
        assert_eq!(squeezed[10], "errors 3 3");
        // Nothing was written, so that there is no ratio.
        assert_eq!(squeezed[8], "disk bytes/op 0.00 0.00 -");
    }

    #[test]
    fn json_has_the_same_ratios_and_all_rounds() {
        let (cell, names) = cell();
        let json = json(&[cell], &names, 3, Target::Spread);
        assert_eq!((&json["nodes"], &json["target"]), (&3.into(), &"spread".into()));
        let ratios = &json["cells"][0]["ratios"]["keelson"];
        assert_eq!(ratios["requests/s"]["median"], 4.0);
        assert_eq!(ratios["disk bytes/op"], Value::Null);
        assert_eq!(json["cells"][0]["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(json["baseline"], "etcd");
    }

    #[test]
    fn without_etcd_the_first_server_is_the_baseline() {
        let names = ["etcd34", "null"].map(str::to_owned);
        assert_eq!(baseline(&names), 0);
    }
}
