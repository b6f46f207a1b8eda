// The adapter between the kit and acme_rng: the kit's raw TLP streams and names outside, the vendor's inside.
//
// A beat of a raw stream is {last, first, enable, data}: a bit of enable for each dword, dword 0 lowest.
module adapter (
    input  wire        clk,
    input  wire        rst,
    input  wire [67:0] rx__payload,
    input  wire        rx__valid,
    output wire        rx__ready,
    output wire [67:0] tx__payload,
    output wire        tx__valid,
    input  wire        tx__ready,
    input  wire [7:0]  entropy__payload,
    input  wire        entropy__valid,
    output wire        entropy__ready
);
    wire [63:0] tdata;
    wire [1:0]  tkeep;
    wire        tlast;
    reg busy = 1'b0;  // a packet of the device has begun
    always @(posedge clk)
        if (rst) busy <= 1'b0;
        else if (tx__valid && tx__ready) busy <= !tlast;
    assign tx__payload = {tlast, !busy, tkeep, tdata};

    acme_rng dut (
        .pcie_clk(clk),
        .pcie_rst_n(!rst),
        .s_axis_tdata(rx__payload[63:0]),
        .s_axis_tkeep(rx__payload[65:64]),
        .s_axis_tlast(rx__payload[67]),
        .s_axis_tvalid(rx__valid),
        .s_axis_tready(rx__ready),
        .m_axis_tdata(tdata),
        .m_axis_tkeep(tkeep),
        .m_axis_tlast(tlast),
        .m_axis_tvalid(tx__valid),
        .m_axis_tready(tx__ready),
        .noise_data(entropy__payload),
        .noise_valid(entropy__valid),
        .noise_ready(entropy__ready)
    );
endmodule
