//! Figures, as lines and as JSON. A suite that ran several times gives the median of each figure, with the least and the greatest.

use std::io;
use std::path::Path;

/// One thing that was measured.
#[derive(Clone)]
struct Figure {
    metric: String,
    unit: &'static str,
    /// A value a run, in the order of the runs.
    values: Vec<f64>,
    /// How many measurements stand behind each value.
    n: u64,
}

impl Figure {
    fn line(&self, id: &str) -> String {
        let Figure { metric, unit, n, .. } = self;
        let (median, least, greatest) = self.spread();
        let spread = match self.values.len() {
            1 => String::new(),
            runs => format!(" min={} max={} runs={runs}", short(least), short(greatest)),
        };
        format!("id={id} metric={metric} value={} unit={unit} n={n}{spread}", short(median))
    }

    fn json(&self, id: &str) -> String {
        let Figure { metric, unit, n, values } = self;
        let (value, min, max) = self.spread();
        let runs = values.len();
        format!(
            "  {{\"id\": \"{id}\", \"metric\": \"{metric}\", \"value\": {value}, \"unit\": \"{unit}\", \"n\": {n}, \"min\": {min}, \"max\": {max}, \"runs\": {runs}}}"
        )
    }

    /// Median (the lower of two middles), least and greatest.
    fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        (sorted[(sorted.len() - 1) / 2], sorted[0], sorted[sorted.len() - 1])
    }
}

/// A latency by quantile, for plots.
#[derive(Clone)]
pub struct Curve {
    pub name: String,
    /// Quantile and milliseconds.
    pub points: Vec<(f64, f64)>,
}

/// The figures of one suite, over one or several runs.
pub struct Report {
    id: String,
    figures: Vec<Figure>,
    curves: Vec<Curve>,
    first_run: bool,
}

impl Report {
    pub fn new(id: &str) -> Report {
        Report { id: id.to_string(), figures: Vec::new(), curves: Vec::new(), first_run: true }
    }

    /// Prints a figure and keeps it. `n`: how many measurements stand behind it.
    pub fn figure(&mut self, metric: &str, value: f64, unit: &'static str, n: u64) {
        let figure = Figure { metric: metric.to_string(), unit, values: vec![value], n };
        println!("{}", figure.line(&self.id));
        match self.figures.iter_mut().find(|known| known.metric == metric) {
            Some(known) => known.values.push(value),
            None => self.figures.push(figure),
        }
    }

    /// Keeps a curve of the first run.
    pub fn curve(&mut self, curve: Curve) {
        if self.first_run {
            self.curves.push(curve);
        }
    }

    /// What comes now is another run of the same.
    pub fn next_run(&mut self) {
        self.first_run = false;
    }

    /// Prints the medians of all runs.
    pub fn print_medians(&self) {
        println!("medians:");
        self.figures.iter().for_each(|figure| println!("{}", figure.line(&self.id)));
    }

    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// Writes all of them.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let lines: Vec<String> = self.figures.iter().map(|figure| figure.json(&self.id)).collect();
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n")))
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_runs_give_the_median_and_the_spread() {
        let mut report = Report::new("x");
        for value in [3.0, 1.0, 2000.0] {
            report.figure("rate", value, "rows/s", 7);
            report.next_run();
        }
        let line = report.figures[0].line("x");
        assert_eq!(line, "id=x metric=rate value=3.000 unit=rows/s n=7 min=1.000 max=2000 runs=3");
    }

    #[test]
    fn one_run_is_a_plain_line() {
        let figure = Figure { metric: "p50".into(), unit: "ms", values: vec![0.25], n: 9 };
        assert_eq!(figure.line("c2"), "id=c2 metric=p50 value=0.250 unit=ms n=9");
    }
}
