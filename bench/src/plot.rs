//! Latency by quantile as an SVG: quantiles to the right, each decade of the tail as wide as the one before; milliseconds upwards, by powers of ten.

use std::fmt::Write as _;

use crate::report::Curve;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
/// Around the picture: left, right (names of the curves), top, bottom.
const MARGIN: (f64, f64, f64, f64) = (62.0, 220.0, 34.0, 40.0);
/// Quantiles with a line of their own.
const TICKS: [(f64, &str); 5] = [(0.0, "0"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444", "#882255"];

/// Quantiles at which a histogram is asked for a plot.
pub fn quantiles() -> Vec<f64> {
    (0..=160).map(|step| 1.0 - 10f64.powf(-f64::from(step) / 40.0)).collect()
}

/// The picture of `curves`; empty when there are none.
pub fn svg(title: &str, curves: &[Curve]) -> String {
    let values = || curves.iter().flat_map(|curve| &curve.points).map(|(_, ms)| ms.max(1e-3).log10());
    let (low, high) =
        (values().fold(f64::INFINITY, f64::min).floor(), values().fold(f64::NEG_INFINITY, f64::max).ceil());
    if curves.is_empty() {
        return String::new();
    }
    let scale = Scale { low, high: high.max(low + 1.0) };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"20\" font-size=\"14\">{title}</text>\n",
        MARGIN.0
    );
    grid(&mut out, &scale);
    for (number, curve) in curves.iter().enumerate() {
        line(&mut out, &scale, curve, number);
    }
    out.push_str("</svg>\n");
    out
}

/// From quantile and milliseconds to points of the picture.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, quantile: f64) -> f64 {
        let decades = -(1.0 - quantile).max(1e-4).log10();
        MARGIN.0 + decades / 4.0 * (WIDTH - MARGIN.0 - MARGIN.1)
    }

    fn y(&self, ms: f64) -> f64 {
        let part = (ms.max(1e-3).log10() - self.low) / (self.high - self.low);
        HEIGHT - MARGIN.3 - part * (HEIGHT - MARGIN.2 - MARGIN.3)
    }
}

fn grid(out: &mut String, scale: &Scale) {
    let (left, right, bottom) = (MARGIN.0, WIDTH - MARGIN.1, HEIGHT - MARGIN.3);
    // Writing to a String cannot fail.
    for (quantile, name) in TICKS {
        let x = scale.x(quantile);
        let _ =
            writeln!(out, "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>", MARGIN.2);
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>", bottom + 18.0);
    }
    for power in scale.low as i32..=scale.high as i32 {
        let (ms, y) = (10f64.powi(power), scale.y(10f64.powi(power)));
        let _ = writeln!(out, "<line x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms} ms</text>", left - 6.0, y + 4.0);
    }
}

fn line(out: &mut String, scale: &Scale, curve: &Curve, number: usize) {
    let colour = COLOURS[number % COLOURS.len()];
    let points: Vec<String> =
        curve.points.iter().map(|&(q, ms)| format!("{:.1},{:.1}", scale.x(q), scale.y(ms))).collect();
    let points = points.join(" ");
    let (x, y) = (WIDTH - MARGIN.1 + 14.0, MARGIN.2 + 16.0 + 18.0 * number as f64);
    let _ = writeln!(out, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>");
    let _ = writeln!(out, "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"3\" fill=\"{colour}\"/>", y - 5.0);
    let _ = writeln!(out, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 20.0, curve.name.replace('_', " "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_inside_the_picture() {
        let points: Vec<(f64, f64)> = quantiles().into_iter().map(|q| (q, 0.2 + q * 30.0)).collect();
        let curve = Curve { name: "one_row".into(), points: points.clone() };
        let text = svg("t", std::slice::from_ref(&curve));
        assert!(text.contains("<polyline") && text.contains("one row") && text.ends_with("</svg>\n"));
        let scale = Scale { low: -1.0, high: 2.0 };
        for (quantile, ms) in points {
            let (x, y) = (scale.x(quantile), scale.y(ms));
            assert!((MARGIN.0..=WIDTH - MARGIN.1 + 0.1).contains(&x), "{quantile} at {x}");
            assert!((MARGIN.2..=HEIGHT - MARGIN.3 + 0.1).contains(&y), "{ms} at {y}");
        }
        assert!(svg("t", &[]).is_empty());
    }
}
