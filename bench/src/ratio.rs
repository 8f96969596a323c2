//! Ratios of two servers over rounds. Only ratios of the same round mean something: machines change
//! from one minute to the next, and more so from one to another.

use serde::Serialize;

/// Middle and extremes of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Spread of the finite ones among the figures; none if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|f| f.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        };
        Some(Self { median, min, max })
    }

    /// Spread of the ratios of two series, round by round.
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        assert_eq!(ours.len(), theirs.len(), "a pair is two figures of one round");
        Self::of(ours.iter().zip(theirs).map(|(a, b)| a / b))
    }
}

/// A figure with three or four digits that matter.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        f if f >= 100.0 => format!("{figure:.0}"),
        f if f >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Lines up columns: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cell = |(c, text): (usize, &String)| match c {
            0 => format!("{text:<0$}", widths[c]),
            _ => format!("{text:>0$}", widths[c]),
        };
        let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_odd_and_even_numbers_of_figures() {
        let spread = |f: &[f64]| Spread::of(f.iter().copied()).map(|s| (s.median, s.min, s.max));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // Each round is twice as fast as the one before; the ratio stays.
        let spread = Spread::of_ratios(&[30.0, 60.0, 120.0], &[10.0, 20.0, 40.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.0, 3.0, 3.0));
    }

    #[test]
    fn a_round_without_a_figure_does_not_spoil_the_others() {
        let spread = Spread::of_ratios(&[1.0, 4.0], &[0.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 2.0, 2.0));
        assert_eq!(Spread::of_ratios(&[0.0], &[0.0]), None);
    }

    #[test]
    fn tables_line_up() {
        let rows = [["put", "1", "20"], ["p99 us", "300", "4"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|r| r.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(table(&rows), "put       1  20\np99 us  300   4");
    }

    #[test]
    fn figures_are_short() {
        let figures = [0.123, 1.5, 12.34, 123.4, 98_765.4].map(short);
        assert_eq!(figures, ["0.12", "1.50", "12.3", "123", "98765"]);
    }
}
