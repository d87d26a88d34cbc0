# SPDX-License-Identifier: Apache-2.0
# Definitions that "lodge image build NAME" finds by name.
imagesdir = $(pkgdatadir)/images
dist_images_DATA = images/debian-fast.xml images/debian-guest.xml images/mpi-guest.xml images/host-node.xml
