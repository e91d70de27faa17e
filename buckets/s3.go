//go:build !nos3

package buckets

import _ "gocloud.dev/blob/s3blob"
