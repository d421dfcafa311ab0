//! Tables that restack on narrow screens: a row becomes a block, each cell with its column's name before it.

use maud::{Markup, html};

use super::visible;

#[derive(Clone, Copy)]
pub struct Column<'a> {
    pub head: &'a str,
    class: Option<&'static str>,
}

impl Column<'_> {
    pub const fn class(&self) -> Option<&'static str> {
        self.class
    }
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
    pub fn render(&self) -> Markup {
        html! {
            div.box role="region" tabindex="0" aria-label=(visible(self.caption)) {
                table {
                    caption { (visible(self.caption)) }
                    thead {
                        tr {
                            @for column in self.columns {
                                th scope="col" class=[column.class] { (visible(column.head)) }
                            }
                        }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (at, (cell, column)) in row.iter().zip(self.columns).enumerate() {
                                    @if at == 0 {
                                        th scope="row" class=[column.class] { (cell) }
                                    } @else {
                                        td class=[column.class] data-label=(visible(column.head)) { div { (cell) } }
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
