# SPDX-License-Identifier: Apache-2.0
# For editors and other tools; Lodge itself validates against the copies built into it.
schemadir = $(pkgdatadir)/schema
dist_schema_DATA = schema/image.xsd schema/profile.xsd schema/v3m_profile.dtd
