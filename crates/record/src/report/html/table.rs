//! Tables that restack on narrow screens: a row becomes a block, each cell with its column's name before it.

use maud::{Markup, html};

use super::visible;

#[derive(Clone, Copy)]
pub struct Column<'a> {
    pub head: &'a str,
    class: Option<&'static str>,
}

/// Words.
pub const fn plain(head: &str) -> Column<'_> {
    Column { head, class: None }
}

/// Right-aligned, not broken.
pub const fn number(head: &str) -> Column<'_> {
    Column { head, class: Some("number") }
}

/// A name that may be long.
pub const fn wide(head: &str) -> Column<'_> {
    Column { head, class: Some("wide") }
}

/// Sentences.
pub const fn prose(head: &str) -> Column<'_> {
    Column { head, class: Some("prose") }
}

pub struct Table<'a> {
    pub caption: &'a str,
    /// The first names the row.
    pub columns: &'a [Column<'a>],
    pub rows: Vec<Vec<Markup>>,
}

impl Table<'_> {
    /// The roles say what the elements are where the style sheet makes blocks of them.
    pub fn render(&self) -> Markup {
        html! {
            div.box role="region" tabindex="0" aria-label=(visible(self.caption)) {
                table role="table" {
                    caption { (visible(self.caption)) }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for column in self.columns {
                                th scope="col" role="columnheader" class=[column.class] { (visible(column.head)) }
                            }
                        }
                    }
                    tbody role="rowgroup" {
                        @for row in &self.rows {
                            tr role="row" {
                                @for (at, (cell, column)) in row.iter().zip(self.columns).enumerate() {
                                    @if at == 0 {
                                        th scope="row" role="rowheader" class=[column.class] { (cell) }
                                    } @else {
                                        td role="cell" class=[column.class] data-label=(visible(column.head)) { div { (cell) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
