//! An evaluation as one self-contained HTML page: figures, reliability diagram, coverage and accuracy, confusions.
//!
//! Plots are inline SVG; no script, no font, nothing is loaded from anywhere.

use std::fmt::Write;

use super::evaluate::Evaluation;

/// Side of a plot, pixels.
const SIDE: f64 = 320.0;

/// The page's text.
pub fn page(title: &str, e: &Evaluation) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write_page(&mut out, title, e);
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write_page(out: &mut String, title: &str, e: &Evaluation) -> std::fmt::Result {
    let title = escape(title);
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>\
         body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}}\
         table{{border-collapse:collapse}}td,th{{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #e3e6ea}}\
         td:first-child,th:first-child{{text-align:left}}.plots{{display:flex;gap:2rem;flex-wrap:wrap}}\
         svg text{{font:11px system-ui,sans-serif;fill:#57606a}}</style><h1>{title}</h1>\
         <p>{} rows. Accuracy is that of the best category; the threshold is {:.2}.</p><table>",
        e.rows, e.threshold.threshold
    )?;
    let figures = [
        ("accuracy", e.accuracy),
        ("macro-F1", e.macro_f1),
        ("weighted F1", e.weighted_f1),
        ("label among the three best", e.top3_accuracy),
        ("ECE, 15 equal-width bins", e.ece15),
        ("mean confidence", e.mean_confidence),
        ("answered at the threshold", e.threshold.coverage),
        ("right of those", e.threshold.accuracy),
    ];
    for (name, value) in figures {
        write!(out, "<tr><td>{name}<td>{value:.4}")?;
    }
    for (name, part) in [
        ("known texts", e.known_texts),
        ("known merchants, new texts", e.known_merchants),
        ("unknown merchants", e.unknown),
    ] {
        write!(out, "<tr><td>accuracy on {name} ({} rows)<td>{:.4}", part.rows, part.accuracy)?;
    }
    out.write_str("</table><div class=plots>")?;
    reliability(out, e)?;
    curve(out, e)?;
    out.write_str("</div>")?;
    tables(out, e)
}

fn frame(out: &mut String, title: &str, x: &str, y: &str) -> std::fmt::Result {
    let full = SIDE + 50.0;
    write!(
        out,
        "<figure><svg width={full} height={full} viewBox='-40 -10 {full} {full}' role=img><title>{title}</title>"
    )?;
    write!(out, "<rect width={SIDE} height={SIDE} fill=none stroke='#8c959f'/>")?;
    for i in 0..=5 {
        let at = f64::from(i) * SIDE / 5.0;
        let label = f64::from(i) / 5.0;
        write!(out, "<text x={at} y={} text-anchor=middle>{label:.1}</text>", SIDE + 14.0)?;
        write!(out, "<text x=-6 y={} text-anchor=end>{label:.1}</text>", SIDE - at + 4.0)?;
    }
    write!(out, "<text x={} y={} text-anchor=middle>{x}</text>", SIDE / 2.0, SIDE + 30.0)?;
    write!(out, "<text transform='translate(-28 {}) rotate(-90)' text-anchor=middle>{y}</text>", SIDE / 2.0)
}

fn reliability(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    frame(out, "reliability diagram", "confidence", "share that is right")?;
    let width = SIDE / e.reliability.len().max(1) as f64;
    for (i, bin) in e.reliability.iter().enumerate().filter(|(_, b)| b.rows > 0) {
        let height = bin.accuracy * SIDE;
        let opacity = 0.25 + 0.75 * (bin.rows as f64 / e.rows.max(1) as f64).sqrt();
        write!(
            out,
            "<rect x={:.1} y={:.1} width={:.1} height={height:.1} fill='#0969da' fill-opacity={opacity:.2}><title>{} rows: \
             confidence {:.3}, right {:.3}</title></rect>",
            i as f64 * width + 1.0,
            SIDE - height,
            width - 2.0,
            bin.rows,
            bin.confidence,
            bin.accuracy
        )?;
    }
    write!(out, "<line x1=0 y1={SIDE} x2={SIDE} y2=0 stroke='#cf222e' stroke-dasharray='4 3'/></svg>")?;
    out.write_str(
        "<figcaption>Reliability: bars on the line are calibrated; darker bars hold more rows.</figcaption></figure>",
    )
}

fn curve(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    frame(out, "coverage and accuracy", "share answered", "share of answers that is right")?;
    out.write_str("<polyline fill=none stroke='#0969da' stroke-width=2 points='")?;
    for c in &e.curve {
        write!(out, "{:.1},{:.1} ", c.coverage * SIDE, SIDE - c.accuracy * SIDE)?;
    }
    out.write_str("'/>")?;
    for c in &e.curve {
        write!(
            out,
            "<circle cx={:.1} cy={:.1} r=3 fill='#0969da'><title>threshold {:.2}: {:.1} % answered, {:.2} % right</title></circle>",
            c.coverage * SIDE,
            SIDE - c.accuracy * SIDE,
            c.threshold,
            c.coverage * 100.0,
            c.accuracy * 100.0
        )?;
    }
    out.write_str("</svg><figcaption>Coverage and accuracy at thresholds 0 to 0.99.</figcaption></figure>")
}

fn tables(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    out.write_str("<h2>Categories</h2><table><tr><th>category<th>rows<th>precision<th>recall<th>F1")?;
    for c in &e.classes {
        write!(
            out,
            "<tr><td>{}<td>{}<td>{:.3}<td>{:.3}<td>{:.3}",
            escape(&c.name),
            c.rows,
            c.precision,
            c.recall,
            c.f1
        )?;
    }
    out.write_str("</table><h2>Most frequent confusions</h2><table><tr><th>label<th>answer<th>rows")?;
    for (label, answer, rows) in e.confusions.iter().take(40) {
        write!(out, "<tr><td>{}<td>{}<td>{rows}", escape(label), escape(answer))?;
    }
    out.write_str("</table></html>\n")
}
