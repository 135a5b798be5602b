//! Figures, as lines and as JSON.

use std::io;
use std::path::Path;

struct Figure {
    metric: String,
    value: f64,
    unit: &'static str,
    n: u64,
}

/// The figures of one run.
pub struct Report {
    id: String,
    figures: Vec<Figure>,
}

impl Report {
    pub fn new(id: &str) -> Report {
        Report { id: id.to_string(), figures: Vec::new() }
    }

    /// Prints a figure and keeps it. `n`: how many measurements stand behind it.
    pub fn figure(&mut self, metric: &str, value: f64, unit: &'static str, n: u64) {
        println!("id={} metric={metric} value={} unit={unit} n={n}", self.id, short(value));
        self.figures.push(Figure { metric: metric.to_string(), value, unit, n });
    }

    /// Writes all of them.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        let line = |f: &Figure| {
            let Figure { metric, value, unit, n } = f;
            format!(
                "  {{\"id\": \"{}\", \"metric\": \"{metric}\", \"value\": {value}, \"unit\": \"{unit}\", \"n\": {n}}}",
                self.id
            )
        };
        let lines: Vec<String> = self.figures.iter().map(line).collect();
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n")))
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
