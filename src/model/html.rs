//! An evaluation as one self-contained HTML page: figures, seen and unseen merchants, reliability diagram, coverage and
//! accuracy, F1 of the categories as bars, confusion matrix, tables.
//!
//! Plots are inline SVG with a title on every mark; no script, no font, nothing is loaded from anywhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::evaluate::{ClassScore, Evaluation};

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
         figure{{margin:0}}figcaption{{font-size:13px;color:#57606a;max-width:22rem}}.name{{text-align:left!important}}\
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
        ("the same, every merchant once", e.ece15_by_merchant),
        ("of a confidence that is exactly right", e.ece15_of_chance),
        ("mean confidence", e.mean_confidence),
        ("answered at the threshold", e.threshold.coverage),
        ("right of those", e.threshold.accuracy),
    ];
    for (name, value) in figures {
        write!(out, "<tr><td>{name}<td>{value:.4}")?;
    }
    out.write_str("</table><h2>Seen and unseen</h2><table>")?;
    out.write_str(
        "<tr><th>what training knew<th>rows<th>share<th>accuracy<th>mean confidence<th>ECE<th>by merchant<th>of chance",
    )?;
    for (name, part) in
        [("the text itself", e.known_texts), ("the merchant, not the text", e.known_merchants), ("nothing", e.unknown)]
    {
        let share = part.rows as f64 / e.rows.max(1) as f64;
        write!(out, "<tr><td>{name}<td>{}<td>{share:.3}", part.rows)?;
        write!(out, "<td>{:.4}<td>{:.4}", part.accuracy, part.mean_confidence)?;
        write!(out, "<td>{:.4}<td>{:.4}<td>{:.4}", part.ece15, part.ece15_by_merchant, part.ece15_of_chance)?;
    }
    out.write_str("</table><h2>Confidence</h2><div class=plots>")?;
    reliability(out, e)?;
    curve(out, e)?;
    out.write_str("</div><h2>Categories</h2><div class=plots>")?;
    bars(out, e)?;
    matrix(out, e)?;
    out.write_str("</div>")?;
    tables(out, e)
}

/// Axes: x from 0 to 1, y from `low` to 1.
fn frame(out: &mut String, title: &str, x: &str, y: &str, low: f64) -> std::fmt::Result {
    let full = SIDE + 66.0;
    write!(
        out,
        "<figure><svg width={full} height={full} viewBox='-56 -10 {full} {full}' role=img><title>{title}</title>"
    )?;
    write!(out, "<rect width={SIDE} height={SIDE} fill=none stroke='#8c959f'/>")?;
    for i in 0..=5 {
        let at = f64::from(i) * SIDE / 5.0;
        let label = f64::from(i) / 5.0;
        write!(out, "<text x={at} y={} text-anchor=middle>{label:.1}</text>", SIDE + 14.0)?;
        let height = low + (1.0 - low) * label;
        write!(out, "<text x=-6 y={} text-anchor=end>{height:.2}</text>", SIDE - at + 4.0)?;
    }
    write!(out, "<text x={} y={} text-anchor=middle>{x}</text>", SIDE / 2.0, SIDE + 30.0)?;
    write!(out, "<text transform='translate(-44 {}) rotate(-90)' text-anchor=middle>{y}</text>", SIDE / 2.0)
}

fn reliability(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    frame(out, "reliability diagram", "confidence", "share that is right", 0.0)?;
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
    // From the last tenth below all answers, so that the curve fills its frame.
    let least = e.curve.iter().filter(|c| c.coverage > 0.0).map(|c| c.accuracy).fold(1.0, f64::min);
    let low = ((least * 10.0).ceil() - 1.0).clamp(0.0, 9.0) / 10.0;
    let height = |accuracy: f64| SIDE - (accuracy - low).max(0.0) / (1.0 - low) * SIDE;
    let answering = || e.curve.iter().filter(|c| c.coverage > 0.0);
    frame(out, "coverage and accuracy", "share answered", "share of answers that is right", low)?;
    out.write_str("<polyline fill=none stroke='#0969da' stroke-width=2 points='")?;
    for c in answering() {
        write!(out, "{:.1},{:.1} ", c.coverage * SIDE, height(c.accuracy))?;
    }
    out.write_str("'/>")?;
    for c in answering() {
        write!(
            out,
            "<circle cx={:.1} cy={:.1} r=3 fill='#0969da'><title>threshold {:.2}: {:.1} % answered, {:.2} % right</title></circle>",
            c.coverage * SIDE,
            height(c.accuracy),
            c.threshold,
            c.coverage * 100.0,
            c.accuracy * 100.0
        )?;
    }
    out.write_str("</svg><figcaption>Coverage and accuracy at thresholds 0 to 0.99.</figcaption></figure>")
}

/// Height of one category in bars and matrix, pixels.
const LINE: f64 = 15.0;

/// Room for a category's name, pixels.
const NAMES: f64 = 190.0;

fn occurring(e: &Evaluation) -> Vec<&ClassScore> {
    e.classes.iter().filter(|c| c.rows > 0 || c.predicted > 0).collect()
}

/// F1 of each category; the darker, the more rows.
fn bars(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    let classes = occurring(e);
    let (width, height) = (NAMES + SIDE + 40.0, classes.len() as f64 * LINE + 20.0);
    let most = classes.iter().map(|c| c.rows).max().unwrap_or(1).max(1) as f64;
    write!(out, "<figure><svg width={width} height={height} role=img><title>F1 by category</title>")?;
    for (i, c) in classes.iter().enumerate() {
        let y = i as f64 * LINE;
        let opacity = 0.25 + 0.75 * (c.rows as f64 / most).sqrt();
        write!(out, "<text x={} y={} text-anchor=end>{}</text>", NAMES - 6.0, y + 11.0, escape(&c.name))?;
        write!(
            out,
            "<rect x={NAMES} y={:.1} width={:.1} height={} fill='#0969da' fill-opacity={opacity:.2}><title>{}: {} rows, \
             precision {:.3}, recall {:.3}</title></rect><text x={:.1} y={:.1}>{:.2}</text>",
            y + 1.0,
            c.f1 * SIDE,
            LINE - 3.0,
            escape(&c.name),
            c.rows,
            c.precision,
            c.recall,
            NAMES + c.f1 * SIDE + 4.0,
            y + 11.0,
            c.f1
        )?;
    }
    out.write_str("</svg><figcaption>F1 by category; darker bars hold more rows.</figcaption></figure>")
}

/// Rows are labels, columns answers; shares of the label's rows.
fn matrix(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    let classes = occurring(e);
    let place: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.name.as_str(), i)).collect();
    let side = classes.len() as f64 * LINE;
    write!(
        out,
        "<figure><svg width={w} height={w} viewBox='-{NAMES} -{NAMES} {w} {w}' role=img>",
        w = NAMES + side + 4.0
    )?;
    write!(out, "<title>confusion matrix</title><rect width={side} height={side} fill=none stroke='#8c959f'/>")?;
    let mut cell = |label: usize, answer: usize, rows: u64, of: &ClassScore, name: &str| {
        let share = rows as f64 / of.rows.max(1) as f64;
        let colour = if label == answer { "#0969da" } else { "#cf222e" };
        write!(
            out,
            "<rect x={} y={} width={LINE} height={LINE} fill='{colour}' fill-opacity={:.2}><title>{} → {}: {rows} rows, \
             {share:.3}</title></rect>",
            answer as f64 * LINE,
            label as f64 * LINE,
            share.sqrt(),
            escape(&of.name),
            escape(name)
        )
    };
    for (i, class) in classes.iter().enumerate() {
        cell(i, i, (class.recall * class.rows as f64).round() as u64, class, &class.name)?;
    }
    for (label, answer, rows) in &e.confusions {
        let (from, to) = (place.get(label.as_str()), place.get(answer.as_str()));
        if let (Some(&from), Some(&to)) = (from, to)
            && let Some(class) = classes.get(from)
        {
            cell(from, to, *rows, class, answer)?;
        }
    }
    for (i, class) in classes.iter().enumerate() {
        let (at, name) = (i as f64 * LINE + 11.0, escape(&class.name));
        write!(out, "<text x=-6 y={at} text-anchor=end>{name}</text>")?;
        write!(out, "<text transform='translate({at} -6) rotate(-90)'>{name}</text>")?;
    }
    out.write_str(
        "</svg><figcaption>Confusions: a line is a label, a column an answer; blue is right, red is wrong, full colour is all \
         rows of the label.</figcaption></figure>",
    )
}

fn tables(out: &mut String, e: &Evaluation) -> std::fmt::Result {
    out.write_str("<h2>Figures by category</h2><table><tr><th>category<th>rows<th>precision<th>recall<th>F1")?;
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
    out.write_str("</table><h2>Most frequent confusions</h2><table><tr><th>label<th class=name>answer<th>rows")?;
    for (label, answer, rows) in e.confusions.iter().take(40) {
        write!(out, "<tr><td>{}<td class=name>{}<td>{rows}", escape(label), escape(answer))?;
    }
    out.write_str("</table></html>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::evaluate;
    use crate::model::testing::{dataset, settings, trained, tsv};

    #[test]
    fn a_page_holds_every_figure_and_plot_and_loads_nothing() {
        let data = dataset(&tsv().replace("books", "books & <maps>"));
        let model = trained(&data, &settings());
        // Rows of a category that the model does not know, and some that it gets wrong.
        let rows =
            tsv().replace("books", "books & <maps>").replace("LUMBER YARD #1", "GAS #1").replace("tools", "other");
        let rows = dataset(&rows);
        let evaluation = evaluate(&model, &rows, &rows.rows);
        assert!(!evaluation.confusions.is_empty());
        let page = page("a \"model\" <1.0.0>", &evaluation);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(page.contains("<h1>a &quot;model&quot; &lt;1.0.0&gt;</h1>"));
        assert!(!page.contains("<maps>") && page.contains("books &amp; &lt;maps&gt;"));
        for nothing in ["http", "<script", "src=", "url(", "@import", "NaN", "inf"] {
            assert!(!page.contains(nothing), "{nothing}");
        }
        for plot in ["reliability diagram", "coverage and accuracy", "F1 by category", "confusion matrix"] {
            assert!(page.contains(&format!("<title>{plot}</title>")), "{plot}");
        }
        for tag in ["svg", "figure", "table", "div"] {
            let [opened, closed] = [format!("<{tag}"), format!("</{tag}>")].map(|tag| page.matches(&tag).count());
            assert_eq!(opened, closed, "{tag}");
        }
        for figure in [evaluation.accuracy, evaluation.macro_f1, evaluation.ece15, evaluation.unknown.accuracy] {
            assert!(page.contains(&format!("<td>{figure:.4}")), "{figure}");
        }
        for class in &evaluation.classes {
            let line = format!("<tr><td>{}<td>{}<td>{:.3}", escape(&class.name), class.rows, class.precision);
            assert!(page.contains(&line), "{line}");
        }
        let bars = evaluation.reliability.iter().filter(|bin| bin.rows > 0).count();
        assert_eq!(page.matches(" rows: confidence ").count(), bars);
    }
}
