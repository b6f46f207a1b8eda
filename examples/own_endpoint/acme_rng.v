// The endpoint under test: somebody's entropy device, with the names and the habits of a vendor.
//
// TLPs are on AXI4-Streams: a dword per 32 bits of tdata, header first, as a hard block gives them out. The reset
// is low. Inside is this project's own design, as `virtio-endpoint hdl --device rng --width 64` writes it, so that
// there is something to test; put yours in its place.
module acme_rng (
    input  wire        pcie_clk,
    input  wire        pcie_rst_n,
    // towards the device
    input  wire [63:0] s_axis_tdata,
    input  wire [1:0]  s_axis_tkeep,
    input  wire        s_axis_tlast,
    input  wire        s_axis_tvalid,
    output wire        s_axis_tready,
    // from the device
    output wire [63:0] m_axis_tdata,
    output wire [1:0]  m_axis_tkeep,
    output wire        m_axis_tlast,
    output wire        m_axis_tvalid,
    input  wire        m_axis_tready,
    // samples of a noise source
    input  wire [7:0]  noise_data,
    input  wire        noise_valid,
    output wire        noise_ready
);
    reg busy = 1'b0;  // a packet of s_axis has begun
    always @(posedge pcie_clk)
        if (!pcie_rst_n) busy <= 1'b0;
        else if (s_axis_tvalid && s_axis_tready) busy <= !s_axis_tlast;

    wire unused_first, unused_alarm;
    virtio_endpoint core (
        .clk(pcie_clk),
        .rst(!pcie_rst_n),
        .rx__payload({s_axis_tlast, !busy, s_axis_tkeep, s_axis_tdata}),
        .rx__valid(s_axis_tvalid),
        .rx__ready(s_axis_tready),
        .tx__payload({m_axis_tlast, unused_first, m_axis_tkeep, m_axis_tdata}),
        .tx__valid(m_axis_tvalid),
        .tx__ready(m_axis_tready),
        .entropy__payload(noise_data),
        .entropy__valid(noise_valid),
        .entropy__ready(noise_ready),
        .entropy_alarm(unused_alarm)
    );
endmodule
