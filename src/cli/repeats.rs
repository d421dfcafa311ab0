//! Long reasons that many cases share, such as weights that are not there: said in full once, then in a line.

use std::borrow::Cow;
use std::collections::HashMap;

use record::CaseRecord;

/// Reasons of several lines -> the first case that was shown with it.
#[derive(Default)]
pub struct Repeats(HashMap<String, String>);

impl Repeats {
    /// The case as it is shown: a reason that an earlier one had keeps its first line and says where the others are.
    /// For the terminal only: a record has every reason in full.
    pub fn shown<'a>(&mut self, case: &'a CaseRecord) -> Cow<'a, CaseRecord> {
        let mut shown = Cow::Borrowed(case);
        for (i, reason) in case.reasons.iter().enumerate() {
            let Some((first_line, _)) = reason.split_once('\n') else { continue };
            match self.0.get(reason) {
                Some(id) => {
                    shown.to_mut().reasons[i] = format!("{first_line} (more at `{id}` above)");
                }
                // A case that holds may be left out of what is shown.
                None if !case.verdict.satisfies() => {
                    self.0.insert(reason.clone(), case.id.clone());
                }
                None => {}
            }
        }
        shown
    }
}
