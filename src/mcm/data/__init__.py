"""Data: readers of video and images, shards and folders, the cache that training reads.

`sources.open_source` finds out what the user brought, `cache.cache_videos` and
`cache.cache_images` encode it once, `cached.CachedVideos` and `cached.CachedImages` hand it to
the trainer in the order of `sampler.EpochSampler`. The embedded world is in `fluent`.
"""
