//! Upsert of one document by its path, as config-as-code does it (`wire.md` 4.1).

use manifold_model::import;

use crate::authorise::{Action, Resource, authorise};
use crate::import::{Incoming, Report, Source};
use crate::{Actor, Control, Result};

impl Control {
    /// Writes one document; a known path keeps its id, a new path gets one.
    ///
    /// # Errors
    /// When the store fails; what is wrong with the document is in the report.
    pub async fn upsert(
        &self,
        actor: &Actor,
        file: Incoming,
        source: Source,
        reason: &str,
    ) -> Result<Report> {
        authorise(actor, Action::Configure, Resource::Account)?;
        let (files, check) = self
            .checked(vec![file], |files| match files.first() {
                Some(file) => import::check_one(&file.path, &file.bytes, None),
                None => import::ImportCheck::default(),
            })
            .await?;
        self.write(actor, &files, check, source, reason).await
    }
}
