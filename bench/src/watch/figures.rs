//! Figures of a scenario, round by round, and their table.

use serde_json::{Value, json};

use crate::ratio::{Spread, short, table};

/// Figures of one server in one round. All rounds of a scenario have the same names.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    pub(super) fn put(&mut self, name: &'static str, figure: f64) {
        self.0.push((name, figure));
    }
}

/// All rounds of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Rounds {
    pub(super) title: String,
    pub(super) servers: Vec<String>,
    /// By round, then by server.
    pub(super) figures: Vec<Vec<Figures>>,
}

impl Rounds {
    /// The server that the others are compared with: etcd, or else the first one.
    fn base(&self) -> usize {
        self.servers.iter().position(|name| name == "etcd").unwrap_or(0)
    }

    fn names(&self) -> Vec<&'static str> {
        let first = self.figures.first().and_then(|round| round.first());
        first.map_or_else(Vec::new, |figures| figures.0.iter().map(|(name, _)| *name).collect())
    }

    fn series(&self, server: usize, row: usize) -> Vec<f64> {
        let of = |round: &Vec<Figures>| round.get(server)?.0.get(row).map(|(_, figure)| *figure);
        self.figures.iter().filter_map(of).collect()
    }

    /// Medians, the ratios of them, and the smallest and largest ratio of a round.
    pub(super) fn text(&self) -> String {
        let base = self.base();
        let others: Vec<usize> = (0..self.servers.len()).filter(|i| *i != base).collect();
        let mut head = vec![self.title.clone()];
        head.extend(self.servers.iter().cloned());
        for &i in &others {
            head.push(format!("{}/{}", self.servers[i], self.servers[base]));
            head.push("(min .. max)".to_owned());
        }
        let mut rows = vec![head];
        for (row, name) in self.names().into_iter().enumerate() {
            let series: Vec<_> = (0..self.servers.len()).map(|i| self.series(i, row)).collect();
            let median = |i: usize| Spread::of(series[i].iter().copied()).map(|s| s.median);
            let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), short);
            let mut cells = vec![format!("  {name}")];
            cells.extend((0..self.servers.len()).map(|i| shown(median(i))));
            for &i in &others {
                let ratio = median(i).zip(median(base)).map(|(a, b)| a / b);
                cells.push(shown(ratio.filter(|ratio| ratio.is_finite())));
                let spread = Spread::of_ratios(&series[i], &series[base]);
                cells.push(spread.map_or_else(String::new, |s| {
                    format!("({} .. {})", short(s.min), short(s.max))
                }));
            }
            rows.push(cells);
        }
        table(&rows) + "\n"
    }

    /// Everything, round by round.
    pub(super) fn json(&self) -> Value {
        let rows = self.names().into_iter().enumerate().map(|(row, name)| {
            let series = (0..self.servers.len())
                .map(|i| (self.servers[i].clone(), json!(self.series(i, row))));
            (name.to_owned(), Value::Object(series.collect()))
        });
        json!({ "scenario": self.title, "figures": Value::Object(rows.collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds() -> Rounds {
        let figures = |a: f64, b: f64| {
            let mut figures = Figures::default();
            figures.put("events/s", a);
            figures.put("missing", b);
            figures
        };
        let one = |ours, theirs| vec![figures(ours, 0.0), figures(theirs, 0.0)];
        Rounds {
            title: "one-key".to_owned(),
            servers: vec!["keelson".to_owned(), "etcd".to_owned()],
            figures: vec![one(40.0, 10.0), one(90.0, 30.0), one(50.0, 20.0)],
        }
    }

    #[test]
    fn a_table_has_medians_their_ratios_and_the_spread_of_rounds() {
        let text = rounds().text();
        let lines: Vec<_> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "one-key keelson etcd keelson/etcd (min .. max)");
        assert_eq!(lines[1], "events/s 50.0 20.0 2.50 (2.50 .. 4.00)");
        // Nothing was missing, so that there is no ratio.
        assert_eq!(lines[2], "missing 0.00 0.00 -");
    }

    #[test]
    fn json_has_every_round() {
        let json = rounds().json();
        assert_eq!(json["figures"]["events/s"]["etcd"], serde_json::json!([10.0, 30.0, 20.0]));
    }
}
