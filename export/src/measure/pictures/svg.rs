//! What all pictures share: size, letters, colours, and how a drawing becomes text.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A surface to draw on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Ink of titles and axes.
pub(super) const INK: RGBColor = RGBColor(34, 40, 49);
/// Ink of what is said beside.
pub(super) const SOFT: RGBColor = RGBColor(96, 104, 116);
/// Lines of the grid.
pub(super) const GRID: RGBColor = RGBColor(226, 229, 234);
const GROUND: RGBColor = RGBColor(255, 255, 255);

/// Okabe and Ito's colours, darkest contrast first; their yellow is too light for a white ground and is left out.
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];

/// Height of letters in pixels, as plotters counts them (a little more than the letters' own).
pub(super) const TITLE_PX: u32 = 24;
pub(super) const TEXT_PX: u32 = 17;
pub(super) const SMALL_PX: u32 = 15;

/// The colour of the n-th line or person; they come again after seven.
pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or(INK)
}

/// Letters of one size and colour.
pub(super) fn letters(px: u32, ink: RGBColor) -> TextStyle<'static> {
    ("sans-serif", px).into_font().color(&ink)
}

/// Letters that stand centred on, before or behind a point.
pub(super) fn placed(px: u32, ink: RGBColor, across: HPos, down: VPos) -> TextStyle<'static> {
    letters(px, ink).pos(Pos::new(across, down))
}

/// Roughly how wide a text is: no font is at hand, so the mean width of a sans-serif letter counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a line of text"
)]
pub(super) fn width_px(text: &str, px: u32) -> i32 {
    text.chars().count() as i32 * px as i32 / 2
}

/// Draws a picture with a title and a line under it, on what is left below them.
pub(super) fn drawn(
    size: (u32, u32),
    title: &str,
    below_title: &str,
    draw: impl FnOnce(&Area<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let told = |error: DrawingAreaErrorKind<std::io::Error>| anyhow::anyhow!("{error}");
        root.fill(&GROUND).map_err(told)?;
        root.draw_text(title, &letters(TITLE_PX, INK), (20, 14)).map_err(told)?;
        root.draw_text(below_title, &letters(TEXT_PX, SOFT), (20, 44))
            .map_err(told)?;
        let (_, below) = root.split_vertically(74);
        draw(&below)?;
        root.present().map_err(told)?;
    }
    Ok(text)
}

/// A share as per cent with as many digits as it needs.
pub(super) fn percent(share: f64) -> String {
    let value = kith::verification::fit::to_places(share * 100.0, 4);
    format!("{value} %")
}
