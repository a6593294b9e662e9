impl super::S3Client {
    pub(super) async fn bucket_exists(&self) -> crate::Result<bool> {
        Ok(true)
    }
    pub(super) fn list_all(
        &self,
        _: crate::client::ListRequest,
    ) -> futures::stream::BoxStream<'_, crate::Result<crate::client::Listed>> {
        Box::pin(futures::stream::empty())
    }
    pub(super) async fn purge(&self, _: crate::Timestamp) -> crate::Result<u64> {
        Ok(0)
    }
    pub(super) async fn marker_ids(&self) -> crate::Result<Vec<String>> {
        Ok(vec![])
    }
}
